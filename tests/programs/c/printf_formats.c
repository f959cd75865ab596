// printf: flags, widths, precisions, every integer size, %n-free, positional arguments, return values.
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

static int lengths;

__attribute__((format(printf, 1, 2))) static void line(const char *format, ...) {
    char buffer[256];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(buffer, sizeof buffer, format, arguments);
    va_end(arguments);
    lengths += length;
    printf("%3d [%s]\n", length, buffer);
}

int main(void) {
    line("%d %i %u %x %X %o %c %%", -1, 42, 4000000000u, 0xbeef, 0xBEEF, 0755, 'z');
    line("%5d|%-5d|%05d|%+d|% d|%+05d", 42, 42, 42, 42, 42, 42);
    line("%#x %#o %#X %.8x %10.4x|%-10.4x|", 255, 8, 255, 255, 255, 255);
    line("%hhd %hd %ld %lld %jd %zd %td", -128, -32768, -2147483649L, -9223372036854775807LL, INTMAX_MAX, (ssize_t)-5, (ptrdiff_t)7);
    line("%hhu %hu %lu %llu %ju %zu", 255, 65535, 4294967296UL, 18446744073709551615ULL, UINTMAX_MAX, (size_t)9);
    line("%s|%10s|%-10s|%.3s|%10.2s|%*s|%-*s|", "text", "text", "text", "text", "text", 7, "star", 7, "star");
    line("%f %.0f %.1f %.10f %10.3f|%-10.3f|%+.2f|%010.3f", 3.14159, 2.5, 0.05, 1.0 / 3, 2.71828, 2.71828, 1.005, -1.5);
    line("%e %.0e %.3E %g %G %.3g %#g %g %g", 12345.678, 12345.678, 0.00012345, 1e-5, 1e20, 123456.0, 1.0, 100000.0, 1000000.0);
    line("%a %.2a %A", 1.0, 3.14159, 0.1);
    line("%Lf %Le %Lg", 1.5L, 1.0L / 3, 1e30L);
    line("%f %e %g %F", __builtin_inf(), -__builtin_inf(), __builtin_nan(""), __builtin_inf());
    line("%" PRId8 " %" PRIu16 " %" PRIx32 " %" PRIX64, (int8_t)-8, (uint16_t)16, (uint32_t)0x32, (uint64_t)0x64646464646464);
    line("%2$s %1$s %2$s", "world", "hello");
    line("%p", (void *)0x1234abcd);
    line("%.0d|%.0d|%5.0d|", 0, 1, 0);
    char small[8];
    const char *volatile text = "truncated text";
    int wanted = snprintf(small, sizeof small, "%s", text);
    printf("%d %s\n", wanted, small);
    fprintf(stderr, "to stderr\n");
    puts("puts");
    putchar('p');
    putchar('\n');
    printf("total %d\n", lengths);
    return lengths & 127;
}
