// Draws the Mandelbrot set as text, computed in double precision.
#include "freestanding.h"

enum { COLUMNS = 76, ROWS = 30, LIMIT = 64 };

static int escape(double cx, double cy) {
    double x = 0, y = 0;
    int n = 0;
    while (n < LIMIT && x * x + y * y < 4) {
        double next = x * x - y * y + cx;
        y = 2 * x * y + cy;
        x = next;
        n++;
    }
    return n;
}

static int run(int argc, char **argv) {
    (void)argc, (void)argv;
    static const char shades[] = " .,:;-=+*#%@";
    for (int row = 0; row < ROWS; row++) {
        char line[COLUMNS + 2];
        for (int column = 0; column < COLUMNS; column++)
            line[column] = shades[escape(-2.2 + 3.2 * column / COLUMNS, -1.25 + 2.5 * row / ROWS) * 11 / LIMIT];
        line[COLUMNS] = '\n';
        line[COLUMNS + 1] = 0;
        print(line);
    }
    return 0;
}
