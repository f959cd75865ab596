// Heap work: binary trees, a linked list reversed, growing arrays with realloc, aligned and large blocks.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct node {
    struct node *left, *right;
    int value;
};

static struct node *build(int depth, int value) {
    struct node *node = malloc(sizeof *node);
    node->value = value;
    node->left = depth ? build(depth - 1, 2 * value) : NULL;
    node->right = depth ? build(depth - 1, 2 * value + 1) : NULL;
    return node;
}

static long check(const struct node *node) { return node ? node->value + check(node->left) - check(node->right) : 0; }

static void destroy(struct node *node) {
    if (!node)
        return;
    destroy(node->left);
    destroy(node->right);
    free(node);
}

static struct node *insert(struct node *root, int value) {
    if (!root) {
        root = calloc(1, sizeof *root);
        root->value = value;
    } else if (value < root->value)
        root->left = insert(root->left, value);
    else if (value > root->value)
        root->right = insert(root->right, value);
    return root;
}

static int height(const struct node *root) {
    if (!root)
        return 0;
    int left = height(root->left), right = height(root->right);
    return 1 + (left > right ? left : right);
}

int main(void) {
    for (int depth = 2; depth <= 9; depth += 2) {
        struct node *tree = build(depth, 1);
        printf("depth %d check %ld\n", depth, check(tree));
        destroy(tree);
    }
    struct node *search = NULL;
    unsigned state = 7;
    for (int i = 0; i < 400; i++) {
        state = state * 1664525u + 1013904223u;
        search = insert(search, (int)(state >> 16));
    }
    printf("height %d check %ld\n", height(search), check(search));
    destroy(search);
    int *array = NULL;
    size_t capacity = 0, count = 0;
    long sum = 0;
    for (int i = 0; i < 5000; i++) {
        if (count == capacity)
            array = realloc(array, (capacity = capacity ? capacity * 2 : 1) * sizeof *array);
        array[count++] = i * i;
    }
    for (size_t i = 0; i < count; i++)
        sum += array[i];
    printf("array %zu %zu %ld\n", count, capacity, sum);
    free(array);
    char *large = malloc(3 << 20);
    large[0] = large[(3 << 20) - 1] = 'x';
    large = realloc(large, 5 << 20);
    void *aligned = aligned_alloc(4096, 8192);
    printf("large %c%c aligned %d\n", large[0], large[(3 << 20) - 1], (int)((uintptr_t)aligned & 4095));
    free(large);
    free(aligned);
    return 0;
}
