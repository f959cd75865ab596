// Variable arguments: integers, doubles, structures, va_copy, more arguments than registers.
#include <stdarg.h>
#include <stdio.h>

struct pair {
    long first;
    double second;
};

struct large {
    long items[5];
};

static double total(int count, ...) {
    va_list arguments;
    va_start(arguments, count);
    double sum = 0;
    for (int i = 0; i < count; i++)
        sum += i % 2 ? va_arg(arguments, double) : va_arg(arguments, int);
    va_end(arguments);
    return sum;
}

static long tagged(const char *tags, ...) {
    va_list arguments, copy;
    va_start(arguments, tags);
    va_copy(copy, arguments);
    long sum = 0;
    for (int pass = 0; pass < 2; pass++) {
        va_list *list = pass ? &copy : &arguments;
        for (const char *tag = tags; *tag; tag++) {
            sum *= 3;
            switch (*tag) {
            case 'i': sum += va_arg(*list, int); break;
            case 'l': sum += va_arg(*list, long); break;
            case 'd': sum += (long)(va_arg(*list, double) * 8); break;
            case 's': sum += va_arg(*list, const char *)[0]; break;
            case 'p': {
                struct pair pair = va_arg(*list, struct pair);
                sum += pair.first + (long)pair.second;
                break;
            }
            case 'L': {
                struct large large = va_arg(*list, struct large);
                sum += large.items[0] + large.items[4];
                break;
            }
            case 'q': sum += (long)(va_arg(*list, long double) * 2); break;
            }
        }
        va_end(*list);
    }
    return sum;
}

static long fixed(int a, double b, long c, float d, char e, double f, int g, int h, int i, long j, double k, short l) {
    return a + (long)b * 2 + c * 3 + (long)d * 4 + e * 5 + (long)f * 6 + g * 7 + h * 8 + i * 9 + j * 10 + (long)k * 11 + l * 12;
}

int main(void) {
    struct pair pair = {100, 2.5};
    struct large large = {{1, 2, 3, 4, 5}};
    printf("%g\n", total(10, 1, 2.5, 3, 4.5, 5, 6.5, 7, 8.5, 9, 10.5));
    printf("%ld\n", tagged("ilds", 1, 2L, 3.5, "x"));
    printf("%ld\n", tagged("pLiiipq", pair, large, 7, 8, 9, pair, 2.25L));
    printf("%ld\n", tagged("iiiiiiiiiqd", 1, 2, 3, 4, 5, 6, 7, 8, 9, 1.5L, 0.125));
    printf("%ld\n", fixed(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12));
    return (int)fixed(-1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1);
}
