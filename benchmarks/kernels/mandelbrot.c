// Iterations of points of the plane until they leave the Mandelbrot set: doubles in registers. Prints a checksum.
// args: 3
#include "kernel.h"

enum { SIZE = 64, LIMIT = 200 }; // points in each direction; iterations

static int iterations(double x, double y) {
    double re = 0, im = 0;
    for (int i = 0; i < LIMIT; i++) {
        double re2 = re * re, im2 = im * im;
        if (re2 + im2 > 4)
            return i;
        im = 2 * re * im + y;
        re = re2 - im2 + x;
    }
    return LIMIT;
}

static void kernel(long rounds) {
    uint64_t checksum = 0;
    for (long round = 0; round < rounds; round++) {
        double shift = (double)(round & 15) / (16 * SIZE); // between the points of the round before
        for (int i = 0; i < SIZE; i++)
            for (int j = 0; j < SIZE; j++)
                checksum = checksum * 31 + (uint64_t)iterations(-2 + shift + 2.5 * i / SIZE, -1.25 + 2.5 * j / SIZE);
    }
    print("checksum ");
    print_hex(checksum);
}
