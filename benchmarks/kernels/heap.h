// Memory for kernels, the same on guest and host: blocks of whole units, and for each size a list of those released.
#include <stddef.h>

enum { UNIT = 16, LARGEST = 64, HEAP_SIZE = 8 << 20 }; // LARGEST in units

struct block {
    size_t units;
    struct block *next; // of those released; what was allocated starts here
};

static uint8_t heap[HEAP_SIZE] __attribute__((aligned(UNIT)));
static size_t heap_used;
static struct block *released[LARGEST + 1];

// NULL when the heap is full. noipa: as if it stood in a library.
static __attribute__((noipa)) void *allocate(size_t size) {
    size_t units = (offsetof(struct block, next) + size + UNIT - 1) / UNIT;
    if (units > LARGEST)
        return NULL;
    struct block *block = released[units];
    if (block) {
        released[units] = block->next;
        return &block->next;
    }
    if (heap_used + units * UNIT > HEAP_SIZE)
        return NULL;
    block = (struct block *)(heap + heap_used);
    heap_used += units * UNIT;
    block->units = units;
    return &block->next;
}

static __attribute__((noipa)) void release(void *memory) {
    struct block *block = (struct block *)((uint8_t *)memory - offsetof(struct block, next));
    block->next = released[block->units];
    released[block->units] = block;
}
