// The fast Fourier transform, radix 2 and in place, forth and back: complex doubles at growing distances. Prints a
// checksum of the bits.
// args: 3
#include "kernel.h"

enum { BITS = 13, COUNT = 1 << BITS };

struct complex {
    double re, im;
};

static struct complex values[COUNT], roots[COUNT / 2]; // of one

static struct complex times(struct complex a, struct complex b) {
    return (struct complex){a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

// By halving angles, so that no sine is needed: roots[i] is a product of roots whose exponents are the bits of i.
static void find_roots(void) {
    struct complex root = {0, -1}; // a quarter of a turn; then an eighth, and so on
    roots[0] = (struct complex){1, 0};
    for (int step = COUNT / 4; step; step /= 2) {
        for (int i = 0; i < COUNT / 2; i += 2 * step)
            roots[i + step] = times(roots[i], root);
        double re = __builtin_sqrt((1 + root.re) / 2);
        root = (struct complex){re, root.im / (2 * re)};
    }
}

static void reorder(void) { // index i goes to where i's bits read backwards
    for (int i = 0, j = 0; i < COUNT; i++) {
        if (i < j) {
            struct complex swapped = values[i];
            values[i] = values[j];
            values[j] = swapped;
        }
        int bit = COUNT / 2;
        for (; bit && j & bit; bit /= 2)
            j ^= bit;
        j |= bit;
    }
}

static __attribute__((noinline)) void transform(double sign) {
    reorder();
    for (int half = 1; half < COUNT; half *= 2)
        for (int start = 0; start < COUNT; start += 2 * half)
            for (int i = 0; i < half; i++) {
                struct complex *low = &values[start + i], *high = low + half, root = roots[i * (COUNT / 2 / half)];
                root.im *= sign;
                struct complex turned = times(*high, root);
                *high = (struct complex){low->re - turned.re, low->im - turned.im};
                *low = (struct complex){low->re + turned.re, low->im + turned.im};
            }
}

static void kernel(long rounds) {
    find_roots();
    for (int i = 0; i < COUNT; i++)
        values[i] = (struct complex){i % 17 - 8, i % 23 - 11};
    for (long round = 0; round < rounds; round++) {
        transform(1);
        values[round % COUNT].re = -values[round % COUNT].re;
        transform(-1);
        for (int i = 0; i < COUNT; i++)
            values[i] = (struct complex){values[i].re / COUNT, values[i].im / COUNT};
    }
    uint64_t checksum = 0;
    for (int i = 0; i < COUNT; i++) {
        uint64_t bits[2];
        memcpy(bits, &values[i], sizeof bits);
        checksum = checksum * 31 + (bits[0] ^ bits[1]);
    }
    print("checksum ");
    print_hex(checksum);
}
