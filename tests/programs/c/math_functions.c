// The mathematics library: transcendental functions, powers, remainders, gamma, hypot, scaling.
#include <math.h>
#include <stdio.h>

typedef double (*unary)(double);
typedef double (*binary)(double, double);

static const struct {
    const char *name;
    unary function;
} unaries[] = {{"sin", sin},     {"cos", cos},     {"tan", tan},   {"asin", asin},   {"acos", acos}, {"atan", atan},  {"exp", exp},
               {"exp2", exp2},   {"expm1", expm1}, {"log", log},   {"log2", log2},   {"log10", log10}, {"log1p", log1p},
               {"sinh", sinh},   {"cosh", cosh},   {"tanh", tanh}, {"asinh", asinh}, {"cbrt", cbrt}, {"sqrt", sqrt},  {"erf", erf},
               {"tgamma", tgamma}, {"lgamma", lgamma}};

static const struct {
    const char *name;
    binary function;
} binaries[] = {{"pow", pow}, {"fmod", fmod}, {"remainder", remainder}, {"atan2", atan2}, {"hypot", hypot}, {"fdim", fdim}};

int main(void) {
    static volatile double points[] = {0.0, 0.25, -0.75, 1.0, 2.5, 10.0, -3.0, 1e-8, 700.0, 1e10};
    int count = sizeof points / sizeof points[0];
    for (unsigned f = 0; f < sizeof unaries / sizeof unaries[0]; f++) {
        printf("%s", unaries[f].name);
        for (int i = 0; i < count; i++) {
            double r = unaries[f].function(points[i]);
            if (isnan(r))
                printf(" nan");
            else
                printf(" %a", r);
        }
        printf("\n");
    }
    for (unsigned f = 0; f < sizeof binaries / sizeof binaries[0]; f++) {
        printf("%s", binaries[f].name);
        for (int i = 0; i < count; i++) {
            double r = binaries[f].function(points[i], points[(i * 3 + 1) % count]);
            if (isnan(r))
                printf(" nan");
            else
                printf(" %.13g", r);
        }
        printf("\n");
    }
    printf("%a %a %ld %d\n", fma(points[1], points[2], points[4]), ldexp(points[4], -1040), lround(points[4]), ilogb(points[9]));
    printf("%a %a %a %a\n", sinf((float)points[4]), expf((float)points[1]), powf((float)points[4], 3.5f), logf((float)points[5]));
    return 0;
}
