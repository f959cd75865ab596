// Reading standard input: scanf conversions, fgets, getchar, ungetc, sscanf.
// stdin: 10 -20 0x1f 3.25 word [set] 1e3\n3 4 5\nA line of text\nlast line without end
#include <stdio.h>
#include <string.h>

int main(void) {
    int a, b, c, consumed;
    double d, e;
    char word[20], set[20], line[64];
    int fields = scanf("%d %d %i %lf %19s [%19[a-z]] %lf%n", &a, &b, &c, &d, word, set, &e, &consumed);
    printf("%d: %d %d %d %g %s %s %g (%d)\n", fields, a, b, c, d, word, set, e, consumed);
    int x, sum = 0;
    while (scanf("%d", &x) == 1)
        sum += x;
    printf("sum %d\n", sum);
    int ch = getchar();
    printf("char %c\n", ch);
    ungetc('#', stdin);
    if (fgets(line, sizeof line, stdin))
        printf("line %zu %s", strlen(line), line);
    while (fgets(line, sizeof line, stdin))
        printf("more %zu [%s]\n", strlen(line), line);
    printf("eof %d error %d\n", !!feof(stdin), !!ferror(stdin));
    long big;
    unsigned hex;
    float f;
    char letter;
    fields = sscanf("9223372036854775807 ff 1.5e-3 q", "%ld %x %f %c", &big, &hex, &f, &letter);
    printf("%d: %ld %u %g %c\n", fields, big, hex, f, letter);
    printf("%d %d\n", sscanf("abc", "%d", &a), sscanf("", "%d", &a));
    return fields;
}
