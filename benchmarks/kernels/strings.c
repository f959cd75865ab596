// Lengths, copies and comparisons of strings by loops over bytes and over words, as in C libraries. Prints a checksum.
// args: 3
#include "kernel.h"

enum { COUNT = 1024, ROOM = 256 }; // strings, and bytes for each: their ends are anywhere, their starts at words

// Or GCC makes calls of the library's functions of these loops.
#define LOOP static __attribute__((noinline, optimize("no-tree-loop-distribute-patterns")))

typedef uint64_t __attribute__((may_alias)) word;

#define ONES 0x0101010101010101u

static char strings[COUNT][ROOM] __attribute__((aligned(8))), copies[COUNT][ROOM] __attribute__((aligned(8)));

LOOP long length_by_bytes(const char *text) {
    const char *at = text;
    while (*at)
        at++;
    return at - text;
}

static word has_zero(word x) { return (x - ONES) & ~x & ONES << 7; }

LOOP long length_by_words(const char *text) { // of a string that starts at a word
    const word *at = (const word *)text;
    while (!has_zero(*at))
        at++;
    const char *end = (const char *)at;
    while (*end)
        end++;
    return end - text;
}

LOOP void copy_bytes(char *to, const char *from, long size) {
    for (long i = 0; i < size; i++)
        to[i] = from[i];
}

LOOP void copy_words(char *to, const char *from, long size) {
    for (; size >= 8; size -= 8, to += 8, from += 8)
        *(word *)to = *(const word *)from;
    for (long i = 0; i < size; i++)
        to[i] = from[i];
}

LOOP int compare(const char *a, const char *b) {
    while (*a && *a == *b)
        a++, b++;
    return (int)*(const uint8_t *)a - (int)*(const uint8_t *)b;
}

LOOP long find(const char *text, char wanted) {
    for (long i = 0; text[i]; i++)
        if (text[i] == wanted)
            return i;
    return -1;
}

static void kernel(long rounds) {
    uint64_t random = 1, checksum = 0;
    for (int i = 0; i < COUNT; i++) {
        long length = (long)(next_random(&random) % (ROOM - 8));
        for (long k = 0; k < length; k++)
            strings[i][k] = (char)('a' + (k & 15));
    }
    for (long round = 0; round < rounds; round++)
        for (int i = 0; i < COUNT; i++) {
            char *from = strings[i], *to = copies[(i + round) % COUNT];
            long size = length_by_bytes(from) + 1;
            copy_bytes(to, from, size);
            if (size > 1)
                to[size / 2] = 'z'; // where the comparison and the search end
            checksum = checksum * 31 + (uint64_t)compare(from, to) + (uint64_t)find(to, 'z');
            copy_words(to, from, size);
            checksum = checksum * 31 + (uint64_t)length_by_words(to);
        }
    print("checksum ");
    print_hex(checksum);
}
