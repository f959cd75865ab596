// Double precision: special values and printf's %a %g %e %f in many precisions.
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>

static volatile double values[] = {0.0,     -0.0, 1.0, -1.5, 0.1, 1e100, -1e-100, 123456789.0, 5e-324, DBL_MIN, DBL_MAX, 0.5,
                                   2.5,     3.5,  1.0 / 3, 9007199254740993.0, 1e21, 99999.95, INFINITY, -INFINITY, NAN};
enum { COUNT = sizeof values / sizeof values[0] };

static void show(double v) {
    printf("%a | %g | %e | %.17g | %.0f | %+.3e | %10.4g|\n", v, v, v, v, fabs(v) < 1e30 ? v : 0, v, v);
    printf("  ceil %g floor %g trunc %g round %g rint %g near %g\n", ceil(v), floor(v), trunc(v), round(v), rint(v), nearbyint(v));
    int exponent = 0;
    double whole, mantissa = frexp(v, &exponent), part = modf(v, &whole);
    printf("  frexp %a %d modf %a %g signbit %d next %a\n", mantissa, isfinite(v) ? exponent : 0, part, whole, !!signbit(v),
           nextafter(v, 1.0));
}

int main(void) {
    for (int i = 0; i < COUNT; i++)
        show(values[i]);
    double error = 0;
    for (int i = 0; i < COUNT; i++)
        for (int j = 0; j < COUNT; j++) {
            double a = values[i], b = values[j];
            double r = a * b - fma(a, b, 0.0);
            if (isfinite(r))
                error += fabs(r);
        }
    printf("error %a\n", error);
    double kahan = 0, carry = 0, naive = 0;
    for (int i = 0; i < 5000; i++) {
        double y = 0.1 - carry, t = kahan + y;
        carry = (t - kahan) - y;
        kahan = t;
        naive += 0.1;
    }
    printf("kahan %.17g naive %.17g\n", kahan, naive);
    float narrowed = (float)values[14];
    printf("narrow %a wide %a overflow %g underflow %g\n", narrowed, (double)narrowed, (float)values[5], (float)values[6]);
    return 0;
}
