// CRC-32, Adler-32, FNV-1a and CRC-64: bitwise and by table.
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static uint32_t table[256];

static void make_table(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = c & 1 ? 0xedb88320u ^ c >> 1 : c >> 1;
        table[i] = c;
    }
}

static uint32_t crc32(const uint8_t *data, size_t size) {
    uint32_t c = 0xffffffffu;
    while (size--)
        c = table[(c ^ *data++) & 255] ^ c >> 8;
    return ~c;
}

static uint32_t adler32(const uint8_t *data, size_t size) {
    uint32_t a = 1, b = 0;
    while (size--) {
        a = (a + *data++) % 65521;
        b = (b + a) % 65521;
    }
    return b << 16 | a;
}

static uint64_t fnv(const uint8_t *data, size_t size) {
    uint64_t h = 0xcbf29ce484222325u;
    while (size--)
        h = (h ^ *data++) * 0x100000001b3u;
    return h;
}

static uint64_t crc64(const uint8_t *data, size_t size) {
    uint64_t c = 0;
    while (size--) {
        c ^= (uint64_t)*data++ << 56;
        for (int bit = 0; bit < 8; bit++)
            c = c >> 63 ? c << 1 ^ 0x42f0e1eba9ea3693u : c << 1;
    }
    return c;
}

int main(void) {
    static uint8_t data[8192];
    const char *check = "123456789";
    make_table();
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * i >> 3 ^ i);
    printf("%08x %08x %016" PRIx64 " %016" PRIx64 "\n", crc32((const uint8_t *)check, 9), adler32((const uint8_t *)check, 9),
           fnv((const uint8_t *)check, 9), crc64((const uint8_t *)check, 9));
    printf("%08x %08x %016" PRIx64 " %016" PRIx64 "\n", crc32(data, sizeof data), adler32(data, sizeof data), fnv(data, sizeof data),
           crc64(data, sizeof data));
    return crc32((const uint8_t *)check, 9) == 0xcbf43926u ? 0 : 1;
}
