// The Mandelbrot set as text, in double and in fixed point, with the differences counted.
#include <stdint.h>
#include <stdio.h>

enum { WIDTH = 48, HEIGHT = 18, LIMIT = 48 };

static int escape(double cx, double cy) {
    double x = 0, y = 0;
    int n = 0;
    for (; n < LIMIT && x * x + y * y < 4; n++) {
        double next = x * x - y * y + cx;
        y = 2 * x * y + cy;
        x = next;
    }
    return n;
}

static int escape_fixed(int64_t cx, int64_t cy) {
    int64_t x = 0, y = 0;
    int n = 0;
    for (; n < LIMIT && ((x * x + y * y) >> 24) < (4 << 24); n++) {
        int64_t next = ((x * x - y * y) >> 24) + cx;
        y = ((x * y) >> 23) + cy;
        x = next;
    }
    return n;
}

int main(void) {
    static const char shades[] = " .:-=+*#%@";
    long total = 0;
    int different = 0;
    for (int row = 0; row < HEIGHT; row++) {
        for (int column = 0; column < WIDTH; column++) {
            double cx = -2.1 + 2.8 * column / WIDTH, cy = -1.2 + 2.4 * row / HEIGHT;
            int n = escape(cx, cy);
            different += n != escape_fixed((int64_t)(cx * (1 << 24)), (int64_t)(cy * (1 << 24)));
            total += n;
            putchar(shades[n * 9 / LIMIT]);
        }
        putchar('\n');
    }
    printf("total %ld different %d\n", total, different);
    return 0;
}
