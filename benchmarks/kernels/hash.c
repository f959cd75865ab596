// A hash table with chains that grows to 64 MiB, and look-ups of random keys: loads that miss the caches and wait for
// each other. Prints a checksum.
// args: 3
#include "kernel.h"

enum { BUCKETS = 1 << 21, NODES = 1 << 21, INSERTED = 2048, LOOKED_UP = 4096 }; // the last two in a round

struct node {
    struct node *next;
    uint64_t key, value;
};

static struct node *buckets[BUCKETS], nodes[NODES]; // 16 and 48 MiB

static uint64_t key_of(uint64_t number) { return number * 0x9e3779b97f4a7c15u; }

static struct node **bucket(uint64_t key) { return &buckets[(key ^ key >> 32) % BUCKETS]; }

static void insert(struct node *node, uint64_t number) {
    node->key = key_of(number);
    node->value = number;
    node->next = *bucket(node->key);
    *bucket(node->key) = node;
}

static uint64_t find(uint64_t key) {
    for (const struct node *node = *bucket(key); node; node = node->next)
        if (node->key == key)
            return node->value;
    return 0;
}

static void kernel(long rounds) {
    uint64_t random = 1, checksum = 0;
    long count = 0;
    for (long round = 0; round < rounds; round++) {
        for (int i = 0; i < INSERTED && count < NODES; i++, count++)
            insert(&nodes[count], (uint64_t)count + 1);
        for (int i = 0; i < LOOKED_UP; i++) { // the next key depends on what was found
            random ^= find(key_of(random % (uint64_t)count + 1));
            checksum = checksum * 31 + next_random(&random);
        }
    }
    print("checksum ");
    print_hex(checksum);
}
