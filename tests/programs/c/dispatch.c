// Indirect control flow: tables of function pointers, computed goto, callbacks.
#include <stdio.h>

typedef long (*operation)(long, long);

static long add(long a, long b) { return a + b; }
static long subtract(long a, long b) { return a - b; }
static long multiply(long a, long b) { return (long)((unsigned long)a * (unsigned long)b); }
static long exclusive(long a, long b) { return a ^ b; }
static long shift(long a, long b) { return (long)((unsigned long)a << (b & 7)); }

static operation volatile table[] = {add, subtract, multiply, exclusive, shift};

static long threaded(const unsigned char *code, int repeats) {
    static const void *const labels[] = {&&halt, &&increment, &&twice, &&negate, &&mix, &&loop};
    long value = 1;
    const unsigned char *at = code;
#define NEXT goto *labels[*at++]
    NEXT;
increment:
    value += 3;
    NEXT;
twice:
    value = (long)((unsigned long)value * 2);
    NEXT;
negate:
    value = ~value;
    NEXT;
mix:
    value ^= value >> 5;
    NEXT;
loop:
    if (--repeats > 0)
        at = code;
    NEXT;
halt:
    return value;
}

static long for_each(const int *items, int count, long (*visit)(long, int)) {
    long total = 0;
    for (int i = 0; i < count; i++)
        total = visit(total, items[i]);
    return total;
}

static long weigh(long total, int item) { return total * 3 + item; }
static long largest(long total, int item) { return item > total ? item : total; }

int main(void) {
    long value = 12345;
    for (int i = 0; i < 20000; i++)
        value = table[(unsigned long)(value ^ i) % 5](value, i);
    printf("table %ld\n", value);
    static const unsigned char code[] = {1, 2, 4, 3, 1, 4, 1, 5, 0};
    printf("threaded %ld\n", threaded(code, 3000));
    static const int items[] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5};
    printf("callbacks %ld %ld\n", for_each(items, 11, weigh), for_each(items, 11, largest));
    return (int)(value & 63);
}
