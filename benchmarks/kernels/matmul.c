// Products of matrices of doubles, row by row: multiplications and additions that do not wait for each other. Prints
// the bits of a sum.
// args: 3
#include "kernel.h"

enum { SIZE = 128 };

static double a[SIZE][SIZE], b[SIZE][SIZE], c[SIZE][SIZE];

static __attribute__((noinline)) void multiply(void) {
    for (int i = 0; i < SIZE; i++) {
        for (int j = 0; j < SIZE; j++)
            c[i][j] = 0;
        for (int k = 0; k < SIZE; k++)
            for (int j = 0; j < SIZE; j++)
                c[i][j] += a[i][k] * b[k][j];
    }
}

static void kernel(long rounds) {
    double sum = 0;
    for (int i = 0; i < SIZE; i++)
        for (int j = 0; j < SIZE; j++) {
            a[i][j] = (double)(i * 7 + j) / SIZE;
            b[i][j] = (double)(i - j) / (1 + i + j);
        }
    for (long round = 0; round < rounds; round++) {
        multiply();
        for (int i = 0; i < SIZE; i++) {
            sum += c[i][(i + round) % SIZE];
            a[i][round % SIZE] = c[i][i] / SIZE + 1;
        }
    }
    print("sum ");
    print_double(sum);
}
