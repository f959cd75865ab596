// Ackermann's function: calls nested a thousand deep. Prints a checksum.
// args: 3
#include "kernel.h"

static __attribute__((noinline)) long ackermann(long m, long n) {
    if (m == 0)
        return n + 1;
    return ackermann(m - 1, n == 0 ? 1 : ackermann(m, n - 1));
}

static void kernel(long rounds) {
    uint64_t checksum = 0;
    for (long round = 0; round < rounds; round++) // the argument changes, or GCC would call once
        checksum = checksum * 31 + (uint64_t)ackermann(3, 6 + (round & 1));
    print("checksum ");
    print_hex(checksum);
}
