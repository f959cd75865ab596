// Blocks of different sizes that are released and allocated again, in any order. Prints a checksum of their places.
// args: 3
#include "../kernels/kernel.h"

#include "../kernels/heap.h"

enum { PAIRS = 1000, LIVE = 64 }; // a release and an allocation, of a round; blocks at a time

static void kernel(long rounds) {
    static void *live[LIVE];
    uint64_t state = 1, checksum = 0;
    for (int i = 0; i < LIVE; i++)
        live[i] = allocate(16);
    for (long i = 0; i < rounds * PAIRS; i++) {
        uint64_t random = next_random(&state);
        void **place = &live[random % LIVE];
        release(*place);
        *place = allocate(8 + (random >> 8) % 256);
        checksum = checksum * 31 + (uint64_t)((uint8_t *)*place - heap);
    }
    print_hex(checksum);
}
