// A compressor in the manner of Lempel and Ziv, a table of hashes finds repetitions, and its decompressor: byte loops
// and data-dependent branches. Prints the compressed size and a checksum.
// args: 3
#include "kernel.h"

// A byte below 128: that many bytes and one more follow as they are. Others, less 128: so many bytes and SHORTEST more
// as they stand at a distance, which follows in two bytes.
enum { SIZE = 1 << 16, SHORTEST = 4, LONGEST = SHORTEST + 127, RUN = 128, HASH_BITS = 12 };

static uint8_t text[SIZE], packed[2 * SIZE], unpacked[SIZE];

static uint32_t four_bytes(const uint8_t *at) {
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint8_t *put_run(uint8_t *to, const uint8_t *from, long size) {
    while (size > 0) {
        long count = size < RUN ? size : RUN;
        *to++ = (uint8_t)(count - 1);
        for (long i = 0; i < count; i++)
            *to++ = *from++;
        size -= count;
    }
    return to;
}

static __attribute__((noinline)) long compress(uint8_t *out, const uint8_t *in, long size) {
    static uint16_t seen[1 << HASH_BITS]; // where four bytes with this hash stood last
    uint8_t *to = out;
    long at = 0, kept = 0;
    while (at + SHORTEST <= size) {
        uint32_t word = four_bytes(in + at), hash = word * 2654435761u >> (32 - HASH_BITS);
        long before = seen[hash], length = SHORTEST;
        seen[hash] = (uint16_t)at;
        if (before >= at || four_bytes(in + before) != word) {
            at++;
            continue;
        }
        while (length < LONGEST && at + length < size && in[before + length] == in[at + length])
            length++;
        to = put_run(to, in + kept, at - kept);
        *to++ = (uint8_t)(128 + length - SHORTEST);
        *to++ = (uint8_t)(at - before);
        *to++ = (uint8_t)((at - before) >> 8);
        kept = at += length;
    }
    return put_run(to, in + kept, size - kept) - out;
}

static __attribute__((noinline)) long decompress(uint8_t *out, const uint8_t *in, long size) {
    const uint8_t *end = in + size;
    uint8_t *to = out;
    while (in < end) {
        long count = *in++;
        if (count < 128) {
            for (long i = 0; i <= count; i++)
                *to++ = *in++;
            continue;
        }
        const uint8_t *from = to - (in[0] | in[1] << 8);
        in += 2;
        for (long i = 0; i < count - 128 + SHORTEST; i++)
            *to++ = *from++;
    }
    return to - out;
}

// Words of a small vocabulary that never was.
static void write_text(uint64_t *random) {
    static const char syllables[8][4] = {"ba", "ku", "mi", "ros", "ten", "la", "vo", "sha"};
    for (long at = 0; at < SIZE;) {
        uint64_t word = next_random(random) % 512; // up to three syllables of three bits
        for (int i = 0; i < 3 && at < SIZE; i++, word >>= 3)
            for (const char *letter = syllables[word & 7]; *letter && at < SIZE; letter++)
                text[at++] = (uint8_t)*letter;
        if (at < SIZE)
            text[at++] = ' ';
    }
}

static void kernel(long rounds) {
    uint64_t random = 1, checksum = 0;
    long size = 0;
    write_text(&random);
    for (long round = 0; round < rounds; round++) {
        text[next_random(&random) % SIZE] ^= 1;
        size = compress(packed, text, SIZE);
        if (decompress(unpacked, packed, size) != SIZE)
            print("another size ");
        for (long i = 0; i < SIZE; i += 64)
            checksum = checksum * 31 + packed[i % size] + (uint64_t)(unpacked[i] == text[i]);
    }
    print_number((unsigned long)size);
    print(" bytes, checksum ");
    print_hex(checksum);
}
