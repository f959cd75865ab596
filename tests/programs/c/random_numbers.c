// Own generators (LCG, xorshift, splitmix, Mersenne twister start), shuffles and a Monte Carlo estimate.
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>

static uint64_t lcg_state = 1, xor_state = 88172645463325252u, split_state = 42;

static uint32_t lcg(void) { return (uint32_t)((lcg_state = lcg_state * 6364136223846793005u + 1442695040888963407u) >> 33); }

static uint64_t xorshift(void) {
    xor_state ^= xor_state << 13;
    xor_state ^= xor_state >> 7;
    return xor_state ^= xor_state << 17;
}

static uint64_t splitmix(void) {
    uint64_t z = split_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static uint32_t twister(void) {
    static uint32_t mt[624];
    static int index = 625;
    if (index > 624) {
        mt[0] = 5489;
        for (uint32_t i = 1; i < 624; i++)
            mt[i] = 1812433253u * (mt[i - 1] ^ mt[i - 1] >> 30) + i;
        index = 624;
    }
    if (index == 624) {
        for (int i = 0; i < 624; i++) {
            uint32_t y = (mt[i] & 0x80000000u) | (mt[(i + 1) % 624] & 0x7fffffffu);
            mt[i] = mt[(i + 397) % 624] ^ y >> 1 ^ (y & 1 ? 0x9908b0dfu : 0);
        }
        index = 0;
    }
    uint32_t y = mt[index++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680u;
    y ^= y << 15 & 0xefc60000u;
    return y ^ y >> 18;
}

int main(void) {
    printf("%" PRIu32 " %" PRIu64 " %" PRIu64 " %" PRIu32 "\n", lcg(), xorshift(), splitmix(), twister());
    int deck[52], buckets[8] = {0}, inside = 0;
    for (int i = 0; i < 52; i++)
        deck[i] = i;
    for (int i = 51; i > 0; i--) {
        int j = (int)(lcg() % (unsigned)(i + 1)), keep = deck[i];
        deck[i] = deck[j];
        deck[j] = keep;
    }
    for (int i = 0; i < 52; i += 4)
        printf("%d ", deck[i]);
    for (int i = 0; i < 4000; i++)
        buckets[splitmix() >> 61]++;
    for (int i = 0; i < 8; i++)
        printf("| %d ", buckets[i]);
    for (int i = 0; i < 10000; i++) {
        double x = (double)(xorshift() >> 11) * 0x1p-53, y = (double)(xorshift() >> 11) * 0x1p-53;
        inside += x * x + y * y < 1;
    }
    uint32_t last = 0;
    for (int i = 1; i < 10000; i++)
        last = twister();
    printf("\npi %.4f twister %" PRIu32 "\n", inside * 4 / 10000.0, last);
    return last == 4123659995u ? 0 : 1;
}
