// Marsaglia's xorshift with a data-dependent branch: registers only. Prints a checksum.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 900000000 };

int main(int argc, char **argv) {
    long rounds = argc > 1 ? atol(argv[1]) : ROUNDS;
    uint64_t x = 88172645463325252u, sum = 0;
    for (long i = 0; i < rounds; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        sum += x & 1 ? x >> 3 : x * 5;
    }
    printf("checksum %016llx\n", (unsigned long long)(sum ^ x));
    return 0;
}
