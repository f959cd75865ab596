// Recursion: Fibonacci, Ackermann, towers of Hanoi, permutations, eight queens; exit code is a result.
#include <stdio.h>

static long calls;

static __attribute__((noinline)) int fib(int n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

static __attribute__((noinline)) unsigned ackermann(unsigned m, unsigned n) {
    calls++;
    if (m == 0)
        return n + 1;
    return n == 0 ? ackermann(m - 1, 1) : ackermann(m - 1, ackermann(m, n - 1));
}

static int hanoi(int disks, int from, int to, int via) {
    return disks == 0 ? 0 : hanoi(disks - 1, from, via, to) + (from * 3 + to) + hanoi(disks - 1, via, to, from);
}

static void permute(char *text, int at, unsigned *sum) {
    if (text[at] == 0) {
        for (char *c = text; *c; c++)
            *sum = *sum * 131 + (unsigned char)*c;
        return;
    }
    for (int i = at; text[i]; i++) {
        char keep = text[at];
        text[at] = text[i];
        text[i] = keep;
        permute(text, at + 1, sum);
        keep = text[at];
        text[at] = text[i];
        text[i] = keep;
    }
}

static int queens(unsigned columns, unsigned left, unsigned right, unsigned size) {
    unsigned all = (1u << size) - 1, count = 0;
    if (columns == all)
        return 1;
    for (unsigned open = all & ~(columns | left | right); open; open &= open - 1) {
        unsigned bit = open & -open;
        count += queens(columns | bit, (left | bit) << 1, (right | bit) >> 1, size);
    }
    return count;
}

static int is_odd(int n);
static __attribute__((noinline)) int is_even(int n) { return n == 0 ? 1 : is_odd(n - 1); }
static __attribute__((noinline)) int is_odd(int n) { return n == 0 ? 0 : is_even(n - 1); }

int main(void) {
    unsigned sum = 0;
    char letters[] = "abcdef";
    permute(letters, 0, &sum);
    printf("fib %d\n", fib(18));
    printf("ackermann %u", ackermann(2, 60));
    printf(" calls %ld\n", calls);
    printf("hanoi %d permutations %08x\n", hanoi(11, 0, 1, 2), sum);
    printf("queens %d even %d\n", queens(0, 0, 0, 7), is_even(3001));
    return queens(0, 0, 0, 6);
}
