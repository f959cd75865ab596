// Sieve of Eratosthenes, repeated: byte stores with growing strides. Prints the number of primes and a checksum.
// args: 3
#include "kernel.h"

enum { LIMIT = 4000000 };
static uint8_t composite[LIMIT];

static void kernel(long rounds) {
    uint64_t checksum = 0;
    unsigned long count = 0;
    for (long round = 0; round < rounds; round++) {
        memset(composite, 0, sizeof composite);
        count = 0;
        for (long i = 2; i < LIMIT; i++) {
            if (composite[i])
                continue;
            count++;
            checksum = checksum * 31 + (uint64_t)(i ^ round);
            for (long j = i * i; j < LIMIT; j += i)
                composite[j] = 1;
        }
    }
    print_number(count);
    print(" primes, checksum ");
    print_hex(checksum);
}
