// The floating-point environment: rounding modes and accrued exceptions.
#include <fenv.h>
#include <math.h>
#include <stdio.h>

static const int modes[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};
static const char *const mode_names[] = {"nearest", "zero", "down", "up"};

static volatile double one = 1, three = 3, huge = 1e308, tiny = 1e-308, zero = 0, half = 2.5;
static volatile float fone = 1, fthree = 3, fhuge = 3e38f;

static void flags(const char *what, double value) {
    int raised = fetestexcept(FE_ALL_EXCEPT);
    printf(" %s %a%s%s%s%s%s\n", what, value, raised & FE_INVALID ? " NV" : "", raised & FE_DIVBYZERO ? " DZ" : "",
           raised & FE_OVERFLOW ? " OF" : "", raised & FE_UNDERFLOW ? " UF" : "", raised & FE_INEXACT ? " NX" : "");
    feclearexcept(FE_ALL_EXCEPT);
}

static void all_operations(void) {
    flags("1/3", one / three);
    flags("-1/3", -one / three);
    flags("1f/3f", fone / fthree);
    flags("huge*huge", huge * huge);
    flags("-hugef*hugef", -fhuge * fhuge);
    flags("tiny*tiny", tiny * tiny);
    flags("-tiny/3", -tiny / three);
    flags("1/0", one / zero);
    flags("0/0", fabs(zero / zero));
    flags("sqrt(-1)", fabs(sqrt(-one)));
    flags("sqrt(3)", sqrt(three));
    flags("1-1", one - one);
    flags("exact", one + three);
    flags("rint", rint(half));
    flags("-rint", rint(-half));
    flags("narrow", (float)(one / three));
    flags("lrint", (double)lrint(half));
    flags("to int", (double)(long)half);
    flags("from long", (double)(long)(0x7ffffffffffffc01 + (long)zero));
}

int main(void) {
    for (int i = 0; i < 4; i++) {
        if (fesetround(modes[i]) != 0 || fegetround() != modes[i])
            return 1;
        printf("%s\n", mode_names[i]);
        feclearexcept(FE_ALL_EXCEPT);
        all_operations();
    }
    fenv_t saved;
    fesetround(FE_UPWARD);
    feholdexcept(&saved);
    feraiseexcept(FE_INVALID | FE_OVERFLOW);
    flags("raised", 0);
    feraiseexcept(FE_INEXACT);
    feupdateenv(&saved);
    printf("restored %d inexact %d\n", fegetround() == FE_UPWARD, !!fetestexcept(FE_INEXACT));
    fesetenv(FE_DFL_ENV);
    printf("default %d\n", fegetround() == FE_TONEAREST);
    return 0;
}
