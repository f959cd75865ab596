// Shifts and bit tricks: rotate, count zeros, population count, byte swap, reverse, Gray code, Morton order.
#include <inttypes.h>
#include <stdio.h>

static volatile uint64_t seed = 0x9e3779b97f4a7c15u;

static uint64_t rotate_left(uint64_t x, unsigned n) { return n & 63 ? x << (n & 63) | x >> (64 - (n & 63)) : x; }

static uint32_t rotate_right32(uint32_t x, unsigned n) { return n & 31 ? x >> (n & 31) | x << (32 - (n & 31)) : x; }

static uint64_t reverse_bits(uint64_t x) {
    x = (x & 0x5555555555555555u) << 1 | ((x >> 1) & 0x5555555555555555u);
    x = (x & 0x3333333333333333u) << 2 | ((x >> 2) & 0x3333333333333333u);
    x = (x & 0x0f0f0f0f0f0f0f0fu) << 4 | ((x >> 4) & 0x0f0f0f0f0f0f0f0fu);
    return __builtin_bswap64(x);
}

static uint64_t morton(uint32_t x, uint32_t y) {
    uint64_t code = 0;
    for (int bit = 0; bit < 32; bit++)
        code |= (uint64_t)(x >> bit & 1) << (2 * bit) | (uint64_t)(y >> bit & 1) << (2 * bit + 1);
    return code;
}

static int has_zero_byte(uint64_t x) { return ((x - 0x0101010101010101u) & ~x & 0x8080808080808080u) != 0; }

int main(void) {
    uint64_t x = seed;
    for (int i = 0; i < 12; i++) {
        printf("%016" PRIx64 " clz %d ctz %d pop %d par %d\n", x, __builtin_clzll(x | 1), __builtin_ctzll(x | 1ull << 63),
               __builtin_popcountll(x), __builtin_parityll(x));
        printf("  rev %016" PRIx64 " swap %016" PRIx64 " %08x gray %016" PRIx64 "\n", reverse_bits(x), __builtin_bswap64(x),
               __builtin_bswap32((uint32_t)x), x ^ (x >> 1));
        printf("  rol %016" PRIx64 " ror32 %08x zero byte %d morton %016" PRIx64 "\n", rotate_left(x, i * 7),
               rotate_right32((uint32_t)x, i * 5), has_zero_byte(x), morton((uint32_t)x, (uint32_t)(x >> 32)));
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        if (i % 4 == 3)
            x >>= 40;
    }
    int64_t arithmetic = INT64_MIN;
    int32_t narrow = INT32_MIN;
    uint64_t sum = 0;
    for (int n = 0; n < 64; n++)
        sum += (uint64_t)(arithmetic >> n) ^ (uint64_t)(int64_t)(narrow >> (n & 31)) ^ (seed << n) ^ (seed >> n)
            ^ (uint64_t)((uint32_t)seed << (n & 31)) ^ (seed & ~(1ull << n));
    printf("sum %016" PRIx64 "\n", sum);
    int8_t byte = (int8_t)seed;
    int16_t half = (int16_t)seed;
    printf("narrow %d %d %u %u\n", byte, half, (uint8_t)byte, (uint16_t)half);
    return 7;
}
