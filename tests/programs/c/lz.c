// An LZ77 compressor and its decompressor: round trip of text and of noise.
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { SIZE = 6000, MINIMUM = 4, WINDOW = 4095, LONGEST = 18 };
static uint8_t input[SIZE], packed[SIZE * 2], output[SIZE];
static int heads[4096];

static unsigned hash(const uint8_t *p) { return (p[0] * 2654435761u ^ p[1] * 40503u ^ p[2] * 9973u ^ p[3]) >> 5 & 4095; }

static int compress(int size) {
    int out = 0, at = 0;
    memset(heads, -1, sizeof heads);
    while (at < size) {
        int length = 0, distance = 0;
        if (at + MINIMUM <= size) {
            unsigned slot = hash(input + at);
            int candidate = heads[slot];
            heads[slot] = at;
            if (candidate >= 0 && at - candidate <= WINDOW) {
                while (length < LONGEST && at + length < size && input[candidate + length] == input[at + length])
                    length++;
                distance = at - candidate;
            }
        }
        if (length >= MINIMUM) {
            packed[out++] = (uint8_t)(0x80 | (length - MINIMUM) << 3 | distance >> 9);
            packed[out++] = (uint8_t)(distance >> 1);
            packed[out++] = (uint8_t)(distance & 1);
            at += length;
        } else {
            packed[out++] = 1;
            packed[out++] = input[at++];
        }
    }
    return out;
}

static int expand(int size) {
    int out = 0;
    for (int at = 0; at < size;) {
        if (packed[at] & 0x80) {
            int length = (packed[at] >> 3 & 15) + MINIMUM, distance = (packed[at] & 7) << 9 | packed[at + 1] << 1 | packed[at + 2];
            for (int i = 0; i < length; i++, out++)
                output[out] = output[out - distance];
            at += 3;
        } else {
            output[out++] = packed[at + 1];
            at += 2;
        }
    }
    return out;
}

static int round_trip(const char *what) {
    int small = compress(SIZE), back = expand(small);
    uint32_t sum = 0;
    for (int i = 0; i < small; i++)
        sum = sum * 31 + packed[i];
    int same = back == SIZE && memcmp(input, output, SIZE) == 0;
    printf("%s %d -> %d -> %d same %d sum %08x\n", what, SIZE, small, back, same, sum);
    return same;
}

int main(void) {
    static const char *const words[] = {"emulate ", "translate ", "the ", "guest ", "host ", "of ", "and ", "code.\n"};
    uint32_t state = 99;
    for (int i = 0; i < SIZE;) {
        state = state * 1664525u + 1013904223u;
        for (const char *c = words[state >> 29]; *c && i < SIZE; c++)
            input[i++] = (uint8_t)*c;
    }
    int good = round_trip("text");
    for (int i = 0; i < SIZE; i++) {
        state = state * 1664525u + 1013904223u;
        input[i] = (uint8_t)(state >> 24);
    }
    good += round_trip("noise");
    memset(input, 0, SIZE);
    good += round_trip("zeros");
    return good == 3 ? 0 : 1;
}
