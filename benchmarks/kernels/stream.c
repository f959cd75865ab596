// Memory traffic in the manner of STREAM: copy, scale, add, triad on doubles, memcpy and a word copy. Prints checksums.
// args: 3
#include "kernel.h"

enum { COUNT = 1 << 19 };
static double a[COUNT], b[COUNT], c[COUNT];

static __attribute__((noinline)) void words(uint64_t *restrict to, const uint64_t *restrict from, long count) {
    for (long i = 0; i < count; i += 4) {
        uint64_t w = from[i], x = from[i + 1], y = from[i + 2], z = from[i + 3];
        to[i] = w, to[i + 1] = x, to[i + 2] = y, to[i + 3] = z;
    }
}

static void kernel(long rounds) {
    static uint64_t source[COUNT], target[COUNT];
    for (long i = 0; i < COUNT; i++) {
        a[i] = 1 + (double)(i % 7);
        source[i] = (uint64_t)i * 0x9e3779b97f4a7c15u;
    }
    double sum = 0;
    uint64_t checksum = 0;
    for (long round = 0; round < rounds; round++) { // moves 14 arrays of 4 MiB in or out
        for (long i = 0; i < COUNT; i++)
            c[i] = a[i];
        for (long i = 0; i < COUNT; i++)
            b[i] = 0.5 * c[i];
        for (long i = 0; i < COUNT; i++)
            c[i] = a[i] + b[i];
        for (long i = 0; i < COUNT; i++)
            a[i] = 0.25 * c[i] + b[i];
        words(target, source, COUNT);
        memcpy(source, target + 1, (COUNT - 1) * sizeof source[0]);
        sum += a[round % COUNT] + c[COUNT - 1 - round % COUNT];
        checksum = checksum * 31 + target[(round * 4099L) % COUNT];
    }
    print("sum ");
    print_double(sum);
    print(" checksum ");
    print_hex(checksum);
}
