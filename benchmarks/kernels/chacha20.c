// ChaCha20 (RFC 8439) over a buffer, repeated: 32-bit adds and rotates in sixteen words. Prints a checksum.
// args: 3
#include "kernel.h"

enum { WORDS = 1 << 14 };

static uint32_t rotate(uint32_t x, int n) { return x << n | x >> (32 - n); }

static void quarter(uint32_t x[16], int a, int b, int c, int d) {
    x[a] += x[b], x[d] = rotate(x[d] ^ x[a], 16);
    x[c] += x[d], x[b] = rotate(x[b] ^ x[c], 12);
    x[a] += x[b], x[d] = rotate(x[d] ^ x[a], 8);
    x[c] += x[d], x[b] = rotate(x[b] ^ x[c], 7);
}

static void block(uint32_t *text, const uint32_t state[16]) {
    uint32_t x[16];
    for (int i = 0; i < 16; i++)
        x[i] = state[i];
    for (int i = 0; i < 10; i++) {
        quarter(x, 0, 4, 8, 12), quarter(x, 1, 5, 9, 13), quarter(x, 2, 6, 10, 14), quarter(x, 3, 7, 11, 15);
        quarter(x, 0, 5, 10, 15), quarter(x, 1, 6, 11, 12), quarter(x, 2, 7, 8, 13), quarter(x, 3, 4, 9, 14);
    }
    for (int i = 0; i < 16; i++)
        text[i] ^= x[i] + state[i];
}

static void kernel(long rounds) {
    static uint32_t text[WORDS];
    uint32_t state[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}; // "expand 32-byte k"
    for (int i = 4; i < 12; i++)
        state[i] = (uint32_t)i * 0x01010101; // the key; counter and nonce start with 0
    for (long round = 0; round < rounds; round++)
        for (int i = 0; i < WORDS; i += 16) {
            block(text + i, state);
            state[12]++;
        }
    uint64_t checksum = 0;
    for (int i = 0; i < WORDS; i++)
        checksum = checksum * 31 + text[i];
    print("checksum ");
    print_hex(checksum);
}
