// XXH64 of a buffer with changing seeds: 64-bit multiplications and rotates in four lanes. Prints a checksum.
// args: 3
#include "kernel.h"

enum { WORDS = 1 << 15, SEEDS = 8 }; // SEEDS passes over the buffer are a round

static const uint64_t P1 = 0x9e3779b185ebca87, P2 = 0xc2b2ae3d27d4eb4f, P3 = 0x165667b19e3779f9;
static const uint64_t P4 = 0x85ebca77c2b2ae63;

static uint64_t rotate(uint64_t x, int n) { return x << n | x >> (64 - n); }

static uint64_t lane(uint64_t sum, uint64_t word) { return rotate(sum + word * P2, 31) * P1; }

static uint64_t merge(uint64_t hash, uint64_t sum) { return (hash ^ lane(0, sum)) * P1 + P4; }

// Of whole groups of four words, so the steps for the bytes of a last, incomplete one are not there.
static __attribute__((noinline)) uint64_t xxh64(const uint64_t *data, long words, uint64_t seed) {
    uint64_t a = seed + P1 + P2, b = seed + P2, c = seed, d = seed - P1;
    for (long i = 0; i < words; i += 4) {
        a = lane(a, data[i]), b = lane(b, data[i + 1]);
        c = lane(c, data[i + 2]), d = lane(d, data[i + 3]);
    }
    uint64_t hash = rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18);
    hash = merge(merge(merge(merge(hash, a), b), c), d) + (uint64_t)words * 8;
    hash = (hash ^ hash >> 33) * P2;
    hash = (hash ^ hash >> 29) * P3;
    return hash ^ hash >> 32;
}

static void kernel(long rounds) {
    static uint64_t data[WORDS];
    for (long i = 0; i < WORDS; i++)
        data[i] = (uint64_t)i * P3;
    uint64_t checksum = 0;
    for (long seed = 0; seed < rounds * SEEDS; seed++)
        checksum = checksum * 31 + xxh64(data, WORDS, (uint64_t)seed);
    print("checksum ");
    print_hex(checksum);
}
