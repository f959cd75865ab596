// Single precision: special values, comparisons, min/max, signs, classification, subnormals.
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static const uint32_t patterns[] = {0x00000000, 0x80000000, 0x00000001, 0x807fffff, 0x00800000, 0x3f800000, 0xbf800000,
                                    0x40490fdb, 0x7f7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0x4b7fffff, 0x33333333};
enum { COUNT = sizeof patterns / sizeof patterns[0] };

static float from_bits(uint32_t bits) {
    volatile uint32_t copy = bits;
    float value;
    uint32_t plain = copy;
    memcpy(&value, &plain, 4);
    return value;
}

static uint32_t to_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return value != value ? 0x7fc00000 : bits;
}

static void pair(float a, float b) {
    printf(" %08x %08x %08x %08x %d%d%d%d%d", to_bits(a + b), to_bits(a - b), to_bits(a * b), to_bits(a / b), a < b, a <= b, a == b,
           a > b, isunordered(a, b));
    printf(" %08x %08x %08x\n", to_bits(fminf(a, b)), to_bits(fmaxf(a, b)), to_bits(copysignf(a, b)));
}

int main(void) {
    for (int i = 0; i < COUNT; i++) {
        float a = from_bits(patterns[i]);
        printf("%08x %g %a class %d sqrt %08x neg %08x abs %08x\n", patterns[i], a, a, fpclassify(a), to_bits(sqrtf(a)), to_bits(-a),
               to_bits(fabsf(a)));
        for (int j = i; j < COUNT; j += 3)
            pair(a, from_bits(patterns[j]));
    }
    float sum = 0, product = 1;
    for (int i = 1; i <= 400; i++) {
        sum += 1.0f / (float)i;
        product *= 1.0f + 1.0f / (float)(i * i);
        product = fmaf(product, 0.999f, sum * 1e-5f);
    }
    printf("sum %a product %a\n", sum, product);
    float tiny = 1.0f;
    int steps = 0;
    while (tiny > 0) {
        tiny /= 2;
        steps++;
    }
    printf("halvings %d\n", steps);
    return 0;
}
