// Products of matrices of floats by scalar products: single precision, each addition waits for the one before. Prints
// the bits of a sum.
// args: 3
#include "kernel.h"

enum { SIZE = 96 };

static float a[SIZE][SIZE], b[SIZE][SIZE], c[SIZE][SIZE]; // b is transposed

static __attribute__((noinline)) void multiply(void) {
    for (int i = 0; i < SIZE; i++)
        for (int j = 0; j < SIZE; j++) {
            float sum = 0;
            for (int k = 0; k < SIZE; k++)
                sum += a[i][k] * b[j][k];
            c[i][j] = sum;
        }
}

static void kernel(long rounds) {
    float sum = 0;
    for (int i = 0; i < SIZE; i++)
        for (int j = 0; j < SIZE; j++) {
            a[i][j] = (float)(i * 7 + j) / SIZE;
            b[i][j] = (float)(i - j) / (float)(1 + i + j);
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
