// CRC-32 (the one of Ethernet and zip) of a buffer, repeated: a table look-up for each byte. Prints the sum.
// args: 3
#include "kernel.h"

enum { SIZE = 1 << 18 };

static void kernel(long rounds) {
    static uint32_t table[256];
    static uint8_t data[SIZE];
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0xedb88320 : crc >> 1;
        table[i] = crc;
    }
    for (int i = 0; i < SIZE; i++)
        data[i] = (uint8_t)(i * 7 + (i >> 8));
    uint32_t crc = ~0u;
    for (long round = 0; round < rounds; round++)
        for (int i = 0; i < SIZE; i++)
            crc = table[(crc ^ data[i]) & 255] ^ crc >> 8;
    print("crc ");
    print_hex(~crc);
}
