// MD5 (RFC 1321) over a buffer, repeated: 32-bit rotates and adds. Prints the digest.
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE = 1 << 20, ROUNDS = 700 };

static const uint8_t shifts[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};
static uint32_t sines[64];

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

int main(int argc, char **argv) {
    static uint8_t data[SIZE];
    int rounds = argc > 1 ? atoi(argv[1]) : ROUNDS;
    for (int i = 0; i < 64; i++)
        sines[i] = (uint32_t)floor(fabs(sin(i + 1)) * 4294967296.0);
    for (int i = 0; i < SIZE; i++)
        data[i] = (uint8_t)(i * 7 + (i >> 8));
    uint32_t state[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
    for (int round = 0; round < rounds; round++)
        for (int i = 0; i < SIZE; i += 64)
            block(state, data + i);
    uint8_t end[64] = {0x80};
    uint64_t bits = (uint64_t)rounds * SIZE * 8;
    memcpy(end + 56, &bits, 8);
    block(state, end);
    for (int i = 0; i < 16; i++)
        printf("%02x", state[i / 4] >> (i % 4 * 8) & 255);
    printf("\n");
    return 0;
}
