// What a kernel needs: an entry point and output. The same source becomes a small static RISC-V program without a C
// library and, to compare with, a program of the host with gcc -O2 and the host's library.
// A kernel defines `kernel(rounds)`; rounds are the program's argument, 1 when there is none.
#include <stdint.h>

static void kernel(long rounds);
static int run(int argc, char **argv);

#ifdef __riscv

#include "../../examples/freestanding.h"

// GCC makes calls of these of assignments and loops. Eight bytes at a time, as libraries do it; the attribute keeps GCC
// from seeing what they are, or they would call themselves.
#define LIBRARY __attribute__((used, noinline, optimize("no-tree-loop-distribute-patterns")))

LIBRARY void *memset(void *target, int byte, size_t size) {
    uint8_t *to = target, *end = to + size;
    uint64_t word = (uint8_t)byte * 0x0101010101010101u;
    for (; to < end && (uintptr_t)to % 8; to++)
        *to = (uint8_t)byte;
    for (; end - to >= 32; to += 32) {
        uint64_t *words = (uint64_t *)to;
        words[0] = word, words[1] = word, words[2] = word, words[3] = word;
    }
    for (; to < end; to++)
        *to = (uint8_t)byte;
    return target;
}

LIBRARY void *memcpy(void *restrict target, const void *restrict source, size_t size) {
    uint8_t *to = target, *end = to + size;
    const uint8_t *from = source;
    if (((uintptr_t)to | (uintptr_t)from) % 8 == 0)
        for (; end - to >= 32; to += 32, from += 32) {
            const uint64_t *words = (const uint64_t *)from;
            uint64_t a = words[0], b = words[1], c = words[2], d = words[3];
            uint64_t *copy = (uint64_t *)to;
            copy[0] = a, copy[1] = b, copy[2] = c, copy[3] = d;
        }
    for (; to < end; to++, from++)
        *to = *from;
    return target;
}

#else

#include <stdio.h>
#include <string.h>

static void print(const char *text) { fputs(text, stdout); }

static inline void print_number(unsigned long number) { printf("%lu", number); }

int main(int argc, char **argv) { return run(argc, argv); }

#endif

static inline void print_hex(uint64_t number) {
    char digits[17];
    for (int i = 0; i < 16; i++)
        digits[i] = "0123456789abcdef"[number >> (60 - 4 * i) & 15];
    digits[16] = 0;
    print(digits);
}

// A result of every kernel that computes with doubles: the bits, which must not depend on who computed them.
static inline void print_double(double number) {
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    print_hex(bits);
}

// Marsaglia's xorshift: the same numbers everywhere. The state must not be 0.
static inline uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static int run(int argc, char **argv) {
    long rounds = 0;
    for (const char *digit = argc > 1 ? argv[1] : "1"; *digit >= '0' && *digit <= '9'; digit++)
        rounds = rounds * 10 + *digit - '0';
    kernel(rounds);
    print("\n");
    return 0;
}
