// The spectral norm of the matrix 1 / ((i + j) (i + j + 1) / 2 + i + 1), by powers: divisions, and conversions from
// integers. Prints the norm's bits.
// args: 3
#include "kernel.h"

enum { SIZE = 192 };

static double element(long i, long j) { return 1.0 / (double)((i + j) * (i + j + 1) / 2 + i + 1); }

static __attribute__((noinline)) void times_matrix(double *result, const double *vector) {
    for (long i = 0; i < SIZE; i++) {
        result[i] = 0;
        for (long j = 0; j < SIZE; j++)
            result[i] += element(i, j) * vector[j];
    }
}

static __attribute__((noinline)) void times_transposed(double *result, const double *vector) {
    for (long i = 0; i < SIZE; i++) {
        result[i] = 0;
        for (long j = 0; j < SIZE; j++)
            result[i] += element(j, i) * vector[j];
    }
}

static void kernel(long rounds) {
    static double u[SIZE], v[SIZE], between[SIZE];
    double uv = 0, vv = 0;
    for (int i = 0; i < SIZE; i++)
        u[i] = 1;
    for (long round = 0; round < rounds; round++) {
        times_matrix(between, u);
        times_transposed(v, between);
        uv = vv = 0;
        for (int i = 0; i < SIZE; i++) {
            uv += u[i] * v[i];
            vv += v[i] * v[i];
        }
        for (int i = 0; i < SIZE; i++)
            u[i] = v[i] / __builtin_sqrt(vv);
    }
    print("norm ");
    print_double(__builtin_sqrt(uv));
}
