// A backtracking matcher for . * + ? [] ^ $ and the C library's regcomp, compared on the same patterns.
#include <regex.h>
#include <stdio.h>
#include <string.h>

static int match_here(const char *re, const char *text);

static const char *atom_end(const char *re) {
    if (*re == '[') {
        while (*++re != ']')
            ;
        return re + 1;
    }
    return re + 1;
}

static int atom_matches(const char *re, char c) {
    if (c == 0)
        return 0;
    if (*re == '.')
        return 1;
    if (*re != '[')
        return *re == c;
    int negate = *++re == '^', found = 0;
    for (re += negate; *re != ']'; re++) {
        if (re[1] == '-' && re[2] != ']') {
            found |= re[0] <= c && c <= re[2];
            re += 2;
        } else
            found |= *re == c;
    }
    return found != negate;
}

static int repeat(const char *re, const char *rest, const char *text, int least, int most) {
    int count = 0;
    while (count < most && atom_matches(re, text[count]))
        count++;
    for (; count >= least; count--)
        if (match_here(rest, text + count))
            return 1;
    return 0;
}

static int match_here(const char *re, const char *text) {
    if (*re == 0)
        return 1;
    if (*re == '$' && re[1] == 0)
        return *text == 0;
    const char *end = atom_end(re);
    switch (*end) {
    case '*': return repeat(re, end + 1, text, 0, 1 << 20);
    case '+': return repeat(re, end + 1, text, 1, 1 << 20);
    case '?': return repeat(re, end + 1, text, 0, 1);
    default: return atom_matches(re, *text) && match_here(end, text + 1);
    }
}

static int match(const char *re, const char *text) {
    if (*re == '^')
        return match_here(re + 1, text);
    do
        if (match_here(re, text))
            return 1;
    while (*text++);
    return 0;
}

int main(void) {
    static const char *const patterns[] = {"abc", "^a.c$", "a*b", "[0-9]+", "^[a-z]+[0-9]?$", "x.*y", "[^a-z]", "colou?r", "a+b+c*$"};
    static const char *const texts[] = {"abc", "aXc", "aaab", "room 101", "word7", "xx--yy", "color", "colour", "aabbb", ""};
    int differences = 0;
    for (int p = 0; p < 9; p++) {
        regex_t compiled;
        regcomp(&compiled, patterns[p], REG_EXTENDED | REG_NOSUB);
        printf("%-16s", patterns[p]);
        for (int t = 0; t < 10; t++) {
            int own = match(patterns[p], texts[t]), library = regexec(&compiled, texts[t], 0, NULL, 0) == 0;
            printf(" %d", own);
            differences += own != library;
        }
        printf("\n");
        regfree(&compiled);
    }
    static char hard[17];
    memset(hard, 'a', sizeof hard - 1);
    printf("hard %d differences %d\n", match("a*a*a*b", hard), differences);
    return differences;
}
