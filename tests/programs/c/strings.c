// The string and memory functions of the C library, at every alignment.
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void copies(void) {
    static char source[200], target[200];
    unsigned sum = 0;
    for (int i = 0; i < 200; i++)
        source[i] = (char)(i * 7 + 3);
    for (int from = 0; from < 9; from++)
        for (int to = 0; to < 9; to += 2)
            for (int size = 0; size < 70; size += 11) {
                memset(target, 0x55, sizeof target);
                memcpy(target + to, source + from, size);
                memmove(target + to + 3, target + to, size);
                for (int i = 0; i < 100; i++)
                    sum = sum * 31 + (unsigned char)target[i];
            }
    printf("copies %08x\n", sum);
}

static void words(void) {
    char text[] = "the quick brown fox  jumps over the lazy dog; the end";
    char *state, *word;
    int count = 0;
    for (word = strtok_r(text, " ;", &state); word; word = strtok_r(NULL, " ;", &state)) {
        word[0] = (char)toupper((unsigned char)word[0]);
        printf("%d:%s(%zu) ", count++, word, strlen(word));
    }
    printf("\n");
}

static int sign(int x) { return (x > 0) - (x < 0); }

static void comparisons(void) {
    const char *list[] = {"", "a", "ab", "abc", "abd", "ABC", "abcdefghijklmnop", "abcdefghijklmnoq", "\xff"};
    for (int i = 0; i < 9; i++) {
        for (int j = 0; j < 9; j++)
            printf("%d%d%d ", sign(strcmp(list[i], list[j])), sign(strncmp(list[i], list[j], 3)), sign(strcasecmp(list[i], list[j])));
        printf("\n");
    }
}

int main(void) {
    copies();
    words();
    comparisons();
    const char *hay = "a needle in a haystack with another needle";
    printf("%ld %ld %ld %ld\n", (long)(strstr(hay, "needle") - hay), (long)(strrchr(hay, 'n') - hay), (long)(strchr(hay, 'k') - hay),
           (long)(strpbrk(hay, "xyz") - hay));
    printf("%zu %zu %d\n", strspn(hay, "aen del"), strcspn(hay, "h"), memcmp(hay, hay + 2, 5) < 0);
    char buffer[32];
    const char *volatile right = "right and much too long for the buffer";
    snprintf(buffer, sizeof buffer, "%s-%s", "left", right);
    strncat(buffer, "!", 0);
    char *copy = strdup(buffer);
    printf("%s %zu %p\n", copy, strlen(copy), memchr(copy, 'Z', strlen(copy)));
    free(copy);
    return 0;
}
