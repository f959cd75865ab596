// Integer arithmetic: 32- and 64-bit multiply, divide and remainder corners, high products through __int128.
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>

static volatile int64_t corners[] = {0, 1, -1, 2, -2, 7, -7, 10, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN, 0x123456789abcdef};
enum { COUNT = sizeof corners / sizeof corners[0] };

static uint64_t mix(uint64_t sum, uint64_t value) {
    sum ^= value;
    sum *= 0x100000001b3u;
    return sum ^ (sum >> 29);
}

static uint64_t high_products(int64_t a, int64_t b) {
    int64_t hs = (int64_t)(((__int128)a * b) >> 64);
    uint64_t hu = (uint64_t)(((unsigned __int128)(uint64_t)a * (uint64_t)b) >> 64);
    int64_t hsu = (int64_t)(((__int128)a * (unsigned __int128)(uint64_t)b) >> 64);
    return mix(mix(mix(0, hs), hu), hsu);
}

static uint64_t quotients(int64_t a, int64_t b) {
    uint64_t sum = mix(0, (uint64_t)a * (uint64_t)b);
    if (b == 0)
        return sum;
    if (!(a == INT64_MIN && b == -1))
        sum = mix(mix(sum, a / b), a % b);
    sum = mix(mix(sum, (uint64_t)a / (uint64_t)b), (uint64_t)a % (uint64_t)b);
    int32_t a32 = (int32_t)a, b32 = (int32_t)b;
    sum = mix(sum, (uint64_t)(int64_t)(int32_t)((uint32_t)a32 * (uint32_t)b32));
    if (b32 != 0 && !(a32 == INT32_MIN && b32 == -1))
        sum = mix(mix(sum, a32 / b32), a32 % b32);
    if (b32 != 0)
        sum = mix(mix(sum, (uint32_t)a32 / (uint32_t)b32), (uint32_t)a32 % (uint32_t)b32);
    return sum;
}

static int64_t div_instruction(int64_t a, int64_t b) {
#ifdef __riscv
    int64_t quotient, remainder;
    __asm__ volatile("div %0, %2, %3\n\trem %1, %2, %3" : "=&r"(quotient), "=&r"(remainder) : "r"(a), "r"(b));
    return quotient ^ (remainder << 1);
#else
    return b == 0 ? -1 ^ (int64_t)((uint64_t)a << 1) : a;
#endif
}

int main(void) {
    for (int i = 0; i < COUNT; i++) {
        uint64_t high = 0, low = 0;
        for (int j = 0; j < COUNT; j++) {
            high = mix(high, high_products(corners[i], corners[j]));
            low = mix(low, quotients(corners[i], corners[j]));
        }
        printf("%20" PRId64 " high %016" PRIx64 " low %016" PRIx64 "\n", corners[i], high, low);
    }
    printf("by zero %" PRId64 " overflow %" PRId64 "\n", div_instruction(5, 0), div_instruction(INT64_MIN, -1));
    uint64_t sum = 0;
    for (uint64_t i = 1; i < 3000; i++)
        sum += (0xffffffffffffffffu / i) % (i * 7 + 1) + (uint32_t)(0xfedcba98u / (uint32_t)i);
    printf("sum %" PRIu64 "\n", sum);
    return 0;
}
