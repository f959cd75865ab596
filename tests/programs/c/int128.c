// 128-bit arithmetic: add, multiply, divide, shift, compare, decimal output.
#include <stdint.h>
#include <stdio.h>

typedef unsigned __int128 u128;
typedef __int128 i128;

static const char *decimal(u128 value) {
    static char buffers[4][44];
    static int next;
    char *at = buffers[next++ % 4] + 43;
    *at = 0;
    do
        *--at = (char)('0' + (int)(value % 10));
    while ((value /= 10) != 0);
    return at;
}

static u128 power_modulo(u128 base, u128 exponent, uint64_t modulus) {
    u128 result = 1;
    for (base %= modulus; exponent; exponent >>= 1) {
        if (exponent & 1)
            result = result * base % modulus;
        base = base * base % modulus;
    }
    return result;
}

int main(void) {
    u128 factorial = 1;
    for (int i = 1; i <= 34; i++) {
        factorial *= (unsigned)i;
        if (i % 8 == 2)
            printf("%d! = %s\n", i, decimal(factorial));
    }
    u128 a = ((u128)0x0123456789abcdefu << 64) | 0xfedcba9876543210u, b = ((u128)0x1111u << 64) | 7;
    printf("%s %s %s %s\n", decimal(a + b), decimal(a - b), decimal(a / b), decimal(a % b));
    u128 shifts = 0;
    for (int i = 0; i < 128; i += 5)
        shifts += (a << i) ^ (a >> i) ^ (u128)((i128)(~a) >> i);
    printf("shifts %s\n", decimal(shifts));
    i128 negative = -(i128)a;
    printf("signed %lld %lld %d %d\n", (long long)(negative / 1000000007), (long long)(negative % 1000000007), negative < 0,
           negative < (i128)b);
    printf("power %s\n", decimal(power_modulo(3, (u128)1 << 70, 18446744073709551557u)));
    printf("fermat %s\n", decimal(power_modulo(2, 18446744073709551556u, 18446744073709551557u)));
    printf("double %a %a\n", (double)a, (double)negative);
    printf("back %s\n", decimal((u128)1.5e30));
    int overflow;
    uint64_t low;
    overflow = __builtin_mul_overflow(UINT64_MAX / 3, (uint64_t)4, &low);
    int64_t sum;
    int wrapped = __builtin_add_overflow(INT64_MAX, (int64_t)1, &sum);
    printf("overflow %d %llu %d %lld\n", overflow, (unsigned long long)low, wrapped, (long long)sum);
    return 0;
}
