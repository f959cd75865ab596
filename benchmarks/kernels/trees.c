// Binary trees that are built, walked and taken down again, each node a block of a heap: recursion and pointers. Prints
// a checksum.
// args: 3
#include "kernel.h"

#include "heap.h"

enum { DEEPEST = 12 };

struct node {
    struct node *left, *right;
    uint64_t value;
};

static struct node *build(int depth, uint64_t value) {
    struct node *node = allocate(sizeof *node);
    node->value = value;
    node->left = depth ? build(depth - 1, 2 * value) : NULL;
    node->right = depth ? build(depth - 1, 2 * value + 1) : NULL;
    return node;
}

static uint64_t sum(const struct node *node) {
    return node ? node->value + 3 * sum(node->left) + 5 * sum(node->right) : 0;
}

static void take_down(struct node *node) {
    if (node->left)
        take_down(node->left);
    if (node->right)
        take_down(node->right);
    release(node);
}

static void kernel(long rounds) {
    struct node *kept = build(DEEPEST, 1);
    uint64_t checksum = 0;
    for (long round = 0; round < rounds; round++)
        for (int depth = 2; depth <= DEEPEST; depth += 2)
            for (int i = 0; i < 1 << (DEEPEST - depth); i++) { // as many nodes of each depth
                struct node *tree = build(depth, (uint64_t)(round + i));
                checksum = checksum * 31 + sum(tree);
                take_down(tree);
            }
    print("checksum ");
    print_hex(checksum + sum(kept));
}
