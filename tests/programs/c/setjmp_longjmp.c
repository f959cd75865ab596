// Non-local jumps: errors out of deep recursion, generators of retries, values kept in volatile locals.
#include <setjmp.h>
#include <stdio.h>

static jmp_buf outer, inner;

static __attribute__((noinline)) int dive(int depth, int limit) {
    double anchor = depth * 1.5;
    if (depth == limit)
        longjmp(inner, depth);
    if (depth < 0)
        return 0;
    return dive(depth + 1, limit) + (int)anchor;
}

static int caught(int limit) {
    int code = setjmp(inner);
    if (code == 0)
        return dive(1, limit);
    return code * 10;
}

static int parse(const char **text);

static int term(const char **text) {
    if (**text == '(') {
        ++*text;
        int value = parse(text);
        if (**text != ')')
            longjmp(outer, 2);
        ++*text;
        return value;
    }
    if (**text < '0' || **text > '9')
        longjmp(outer, 3);
    int value = 0;
    while (**text >= '0' && **text <= '9')
        value = value * 10 + *(*text)++ - '0';
    return value;
}

static int parse(const char **text) {
    int value = term(text);
    while (**text == '+' || **text == '*') {
        char op = *(*text)++;
        int right = term(text);
        value = op == '+' ? value + right : value * right;
    }
    return value;
}

int main(void) {
    for (int limit = 1; limit < 60; limit += 13)
        printf("caught %d\n", caught(limit));
    static const char *const sources[] = {"1+2*3", "(4+5)*(6+1)", "(1+2", "7*)", "((((9))))+1", ""};
    volatile int failures = 0;
    for (volatile int i = 0; i < 6; i++) {
        const char *text = sources[i];
        int code = setjmp(outer);
        if (code == 0)
            printf("%s = %d\n", sources[i], parse(&text));
        else {
            failures += code;
            printf("%s: error %d\n", sources[i], code);
        }
    }
    volatile int rounds = 0;
    int got = setjmp(outer);
    if (++rounds < 500)
        longjmp(outer, got + 1);
    printf("rounds %d got %d failures %d\n", rounds, got, failures);
    return failures;
}
