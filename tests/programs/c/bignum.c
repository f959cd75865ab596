// Big integers: factorial, Fibonacci and powers in base 10^9; digits of pi by the spigot.
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { LIMBS = 60 };
static const uint32_t BASE = 1000000000;

struct big {
    uint32_t limb[LIMBS];
    int count;
};

static void multiply(struct big *n, uint32_t by) {
    uint64_t carry = 0;
    for (int i = 0; i < n->count; i++) {
        carry += (uint64_t)n->limb[i] * by;
        n->limb[i] = (uint32_t)(carry % BASE);
        carry /= BASE;
    }
    if (carry)
        n->limb[n->count++] = (uint32_t)carry;
}

static void add(struct big *a, const struct big *b) {
    uint32_t carry = 0;
    int count = a->count > b->count ? a->count : b->count;
    for (int i = 0; i < count; i++) {
        uint32_t sum = (i < a->count ? a->limb[i] : 0) + (i < b->count ? b->limb[i] : 0) + carry;
        carry = sum >= BASE;
        a->limb[i] = carry ? sum - BASE : sum;
    }
    a->count = count;
    if (carry)
        a->limb[a->count++] = 1;
}

static void show(const char *name, const struct big *n) {
    printf("%s %u", name, n->limb[n->count - 1]);
    for (int i = n->count - 2; i >= 0; i--)
        printf("%09u", n->limb[i]);
    printf("\n");
}

static void pi_digits(int digits) {
    static int remainders[400];
    int size = digits * 10 / 3 + 1, carry = 0;
    for (int i = 0; i < size; i++)
        remainders[i] = 2000;
    printf("pi ");
    for (int i = size; i > 0; i -= 14) {
        int sum = 0;
        for (int j = i; j > 0; j--) {
            sum = sum * j + remainders[j - 1] * 10000;
            remainders[j - 1] = sum % (j * 2 - 1);
            sum /= j * 2 - 1;
        }
        printf("%04d", carry + sum / 10000);
        carry = sum % 10000;
    }
    printf("\n");
}

int main(void) {
    struct big factorial = {{1}, 1}, power = {{1}, 1}, a = {{0}, 1}, b = {{1}, 1};
    for (uint32_t i = 2; i <= 120; i++)
        multiply(&factorial, i);
    show("120!", &factorial);
    for (int i = 0; i < 300; i++)
        multiply(&power, 3);
    show("3^300", &power);
    for (int i = 0; i < 250; i++) {
        add(&a, &b);
        add(&b, &a);
    }
    show("fib 500", &a);
    pi_digits(100);
    return (int)(factorial.count + power.count);
}
