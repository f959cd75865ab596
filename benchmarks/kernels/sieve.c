// Sieve of Eratosthenes, repeated: byte stores with growing strides. Prints the number of primes and a checksum.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIMIT = 4000000, ROUNDS = 190 };
static uint8_t composite[LIMIT];

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : ROUNDS;
    uint64_t checksum = 0;
    long count = 0;
    for (int round = 0; round < rounds; round++) {
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
    printf("%ld primes, checksum %016llx\n", count, (unsigned long long)checksum);
    return 0;
}
