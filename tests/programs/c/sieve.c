// The sieve of Eratosthenes over bytes and over bits, and trial division as a check.
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { LIMIT = 20000 };
static uint8_t composite[LIMIT];
static uint64_t bitmap[LIMIT / 64 + 1];

static int by_bytes(void) {
    int count = 0;
    for (int i = 2; i < LIMIT; i++) {
        if (composite[i])
            continue;
        count++;
        for (long j = (long)i * i; j < LIMIT; j += i)
            composite[j] = 1;
    }
    return count;
}

static int by_bits(void) {
    int count = 1;
    for (int i = 3; i < LIMIT; i += 2) {
        if (bitmap[i >> 6] >> (i & 63) & 1)
            continue;
        count++;
        for (long j = (long)i * i; j < LIMIT; j += 2 * i)
            bitmap[j >> 6] |= 1ull << (j & 63);
    }
    return count;
}

static int is_prime(unsigned n) {
    for (unsigned d = 2; d * d <= n; d++)
        if (n % d == 0)
            return 0;
    return n > 1;
}

int main(void) {
    int bytes = by_bytes(), bits = by_bits(), wrong = 0;
    for (int i = 2; i < LIMIT; i += 37)
        wrong += is_prime((unsigned)i) == composite[i];
    printf("%d %d wrong %d\n", bytes, bits, wrong);
    return bytes != bits || wrong;
}
