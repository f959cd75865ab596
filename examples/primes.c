// Counts the primes below N (the first argument, 100000 when there is none) with a sieve, at most 50 million.
// args: 20000
#include "freestanding.h"

enum { LIMIT = 50 * 1000 * 1000 };

static unsigned char composite[LIMIT];

static unsigned long parse(const char *text) {
    unsigned long number = 0;
    while (*text >= '0' && *text <= '9' && number <= LIMIT)
        number = number * 10 + (unsigned long)(*text++ - '0');
    return number;
}

static int run(int argc, char **argv) {
    unsigned long limit = argc > 1 ? parse(argv[1]) : 100000, count = 0;
    if (limit > LIMIT) {
        print("primes: at most 50000000\n");
        return 1;
    }
    for (unsigned long i = 2; i < limit; i++) {
        if (composite[i])
            continue;
        count++;
        for (unsigned long j = i * i; j < limit; j += i)
            composite[j] = 1;
    }
    print_number(count);
    print(" primes below ");
    print_number(limit);
    print("\n");
    return 0;
}
