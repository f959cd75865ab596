// Text to numbers and back: strtol, strtoul, strtod (correct rounding), range errors, shortest round trips.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void integers(const char *text, int base) {
    char *end;
    errno = 0;
    long value = strtol(text, &end, base);
    int error = errno == ERANGE;
    errno = 0;
    unsigned long natural = strtoul(text, NULL, base);
    printf("'%s' base %d: %ld rest '%s' range %d unsigned %lu %d\n", text, base, value, end, error, natural, errno == ERANGE);
}

static void floats(const char *text) {
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    printf("'%s': %a rest '%s' range %d float %a\n", text, value, end, errno == ERANGE, strtof(text, NULL));
}

static int shortest(double value, char *buffer, size_t size) {
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(buffer, size, "%.*g", digits, value);
        if (strtod(buffer, NULL) == value)
            return digits;
    }
    return 0;
}

int main(void) {
    integers("  42abc", 10);
    integers("-0x7fffffffffffffff", 0);
    integers("9223372036854775808", 10);
    integers("-9223372036854775809", 10);
    integers("0777", 0);
    integers("zz", 36);
    integers("1012", 2);
    integers("", 10);
    integers("18446744073709551615", 10);
    floats("3.14159xyz");
    floats("1e400");
    floats("-1e-400");
    floats("2.2250738585072011e-308");
    floats("4.9406564584124654e-324");
    floats("2.4703282292062328e-324");
    floats("9007199254740992.99999999999999999");
    floats("0x1.8p+3");
    floats("inf");
    floats("nan");
    floats(".5e");
    floats("179769313486231580793728971405303415079934132710037826936173778980444968292764750946649017977587207096330286416692887910946555547851940402630657488671505820681908902000708383676273854845817711531764475730270069855571366959622842914819860834936475292719074168444365510704342711559699508093042880");
    double value = 1;
    for (int i = 0; i < 12; i++) {
        char buffer[40];
        int digits = shortest(value, buffer, sizeof buffer);
        if (i % 3 == 0)
            printf("%s (%d)\n", buffer, digits);
        value = value * 7.3 / 1.1 + (i % 3) * 1e-3;
    }
    printf("%d %ld %g\n", atoi("-12x"), atol("99"), atof("1e3"));
    return 0;
}
