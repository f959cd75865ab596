// MD5 (RFC 1321) of a buffer, repeated: 32-bit rotates and adds. Prints the digest.
// args: 3
#include "kernel.h"

enum { SIZE = 1 << 16 };

static const uint8_t shifts[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};
static const uint32_t sines[64] = { // the integer part of 2**32 * abs(sin(i + 1))
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391};

static uint32_t rotate(uint32_t x, int n) { return x << n | x >> (32 - n); }

static void block(uint32_t state[4], const uint8_t *data) {
    uint32_t m[16], a = state[0], b = state[1], c = state[2], d = state[3];
    memcpy(m, data, sizeof m);
    for (int i = 0; i < 64; i++) {
        uint32_t f;
        int g;
        switch (i >> 4) {
        case 0: f = (b & c) | (~b & d), g = i; break;
        case 1: f = (d & b) | (~d & c), g = (5 * i + 1) & 15; break;
        case 2: f = b ^ c ^ d, g = (3 * i + 5) & 15; break;
        default: f = c ^ (b | ~d), g = (7 * i) & 15; break;
        }
        f += a + sines[i] + m[g];
        a = d, d = c, c = b;
        b += rotate(f, shifts[i >> 4][i & 3]);
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
}

static void kernel(long rounds) {
    static uint8_t data[SIZE];
    for (int i = 0; i < SIZE; i++)
        data[i] = (uint8_t)(i * 7 + (i >> 8));
    uint32_t state[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
    for (long round = 0; round < rounds; round++)
        for (int i = 0; i < SIZE; i += 64)
            block(state, data + i);
    uint8_t end[64] = {0x80};
    uint64_t bits = (uint64_t)rounds * SIZE * 8;
    memcpy(end + 56, &bits, 8);
    block(state, end);
    for (int i = 0; i < 2; i++) {
        const uint8_t *bytes = (const uint8_t *)(state + 2 * i);
        uint64_t half = 0;
        for (int k = 0; k < 8; k++)
            half = half << 8 | bytes[k];
        print_hex(half);
    }
}
