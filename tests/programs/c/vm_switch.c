// A stack machine interpreted by a switch: runs two byte-code programs (greatest common divisors and primes).
#include <stdio.h>

enum { HALT, PUSH, LOAD, STORE, ADD, SUB, MUL, MOD, LESS, EQUAL, JUMP, JUMP_IF, PRINT };

static long executed;

static void run(const int *code, long *memory) {
    long stack[32];
    int top = 0, pc = 0;
    for (;;) {
        executed++;
        switch (code[pc++]) {
        case PUSH: stack[top++] = code[pc++]; break;
        case LOAD: stack[top++] = memory[code[pc++]]; break;
        case STORE: memory[code[pc++]] = stack[--top]; break;
        case ADD: top--; stack[top - 1] += stack[top]; break;
        case SUB: top--; stack[top - 1] -= stack[top]; break;
        case MUL: top--; stack[top - 1] *= stack[top]; break;
        case MOD: top--; stack[top - 1] %= stack[top]; break;
        case LESS: top--; stack[top - 1] = stack[top - 1] < stack[top]; break;
        case EQUAL: top--; stack[top - 1] = stack[top - 1] == stack[top]; break;
        case JUMP: pc = code[pc]; break;
        case JUMP_IF: pc = stack[--top] ? code[pc] : pc + 1; break;
        case PRINT: printf("%ld ", stack[--top]); break;
        case HALT: printf("\n"); return;
        default: printf("bad operation\n"); return;
        }
    }
}

static const int gcd[] = {
    LOAD, 1, PUSH, 0, EQUAL, JUMP_IF, 20,                /* 0: while b != 0 */
    LOAD, 0, LOAD, 1, MOD, LOAD, 1, STORE, 0, STORE, 1,  /* 7: a, b = b, a mod b */
    JUMP, 0,                                             /* 18 */
    LOAD, 0, PRINT, HALT,                                /* 20 */
};

static const int primes[] = {
    PUSH, 2, STORE, 0,                                   /* 0: n = 2 */
    PUSH, 2, STORE, 1,                                   /* 4: d = 2 */
    LOAD, 0, LOAD, 1, LOAD, 1, MUL, LESS, JUMP_IF, 37,   /* 8: n < d * d: a prime */
    LOAD, 0, LOAD, 1, MOD, PUSH, 0, EQUAL, JUMP_IF, 40,  /* 18: n mod d == 0: not one */
    LOAD, 1, PUSH, 1, ADD, STORE, 1, JUMP, 8,            /* 28: d++ */
    LOAD, 0, PRINT,                                      /* 37 */
    LOAD, 0, PUSH, 1, ADD, STORE, 0,                     /* 40: n++ */
    LOAD, 0, PUSH, 200, LESS, JUMP_IF, 4,                /* 47 */
    HALT,
};

int main(void) {
    for (long a = 1000; a < 1040; a += 7) {
        long memory[2] = {a * 36, a + 980};
        run(gcd, memory);
    }
    long memory[2] = {0};
    run(primes, memory);
    printf("executed %ld\n", executed);
    return 0;
}
