// Conversions between floating point and integers, with saturation at the limits (RISC-V conversions saturate).
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static volatile double values[] = {0.0, -0.0, 0.5, -0.5, 0.99999, -0.99999, 1.5, -1.5, 2147483647.0, 2147483648.0, -2147483648.0,
                                   -2147483649.0, 4294967295.0, 4294967296.0, 9223372036854774784.0, 9223372036854775808.0,
                                   -9223372036854775808.0, 18446744073709549568.0, 18446744073709551616.0, 1e300, -1e300,
                                   INFINITY, -INFINITY, NAN};

static void from_double(double value) {
    volatile int32_t w = (int32_t)value;
    volatile uint32_t wu = (uint32_t)value;
    volatile int64_t l = (int64_t)value;
    volatile uint64_t lu = (uint64_t)value;
    printf("%g: %" PRId32 " %" PRIu32 " %" PRId64 " %" PRIu64 "\n", value, w, wu, l, lu);
}

static void from_float(float value) {
    volatile int32_t w = (int32_t)value;
    volatile uint32_t wu = (uint32_t)value;
    volatile int64_t l = (int64_t)value;
    volatile uint64_t lu = (uint64_t)value;
    printf("%gf: %" PRId32 " %" PRIu32 " %" PRId64 " %" PRIu64 "\n", value, w, wu, l, lu);
}

static void to_floating(int64_t value) {
    volatile int64_t v = value;
    printf("%" PRId64 ": %a %a %a %a %a %a %a %a\n", value, (double)(int32_t)v, (double)(uint32_t)v, (double)v, (double)(uint64_t)v,
           (float)(int32_t)v, (float)(uint32_t)v, (float)v, (float)(uint64_t)v);
}

int main(void) {
    for (unsigned i = 0; i < sizeof values / sizeof values[0]; i++) {
        from_double(values[i]);
        from_float((float)values[i]);
    }
    static const int64_t integers[] = {0, 1, -1, 16777217, -16777219, INT32_MAX, INT32_MIN, 9007199254740993, INT64_MAX, INT64_MIN,
                                       0x7fffffbfffffffff, 0x7fffff4000000000, 0x8000010000000001};
    for (unsigned i = 0; i < sizeof integers / sizeof integers[0]; i++)
        to_floating(integers[i]);
    printf("%ld %ld %lld %d\n", lrint(values[6]), lround(values[6]), llrint(values[7]), (int)lroundf((float)values[7]));
    return 0;
}
