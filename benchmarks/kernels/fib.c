// Recursive Fibonacci numbers: calls and returns. Prints a checksum.
// args: 3
#include "kernel.h"

static __attribute__((noinline)) long fib(long n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

static void kernel(long rounds) {
    uint64_t checksum = 0;
    for (long round = 0; round < rounds; round++) // the argument changes, or GCC would call once
        checksum = checksum * 31 + (uint64_t)fib(24 + (round & 3));
    print("checksum ");
    print_hex(checksum);
}
