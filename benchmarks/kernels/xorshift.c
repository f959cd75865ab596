// Marsaglia's xorshift with a data-dependent branch: registers only. Prints a checksum.
// args: 3
#include "kernel.h"

#define STEPS 1000000 // in a round

static void kernel(long rounds) {
    uint64_t x = 88172645463325252u, sum = 0;
    for (long i = 0; i < rounds * STEPS; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        sum += x & 1 ? x >> 3 : x * 5;
    }
    print("checksum ");
    print_hex(sum ^ x);
}
