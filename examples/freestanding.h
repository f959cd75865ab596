// What a guest program needs to live without a C library: an entry point, two system calls, text and decimal output.
#include <stddef.h>

static long system_call(long number, long a, long b, long c) {
    register long a0 __asm__("a0") = a, a1 __asm__("a1") = b, a2 __asm__("a2") = c, a7 __asm__("a7") = number;
    __asm__ volatile("ecall" : "+r"(a0) : "r"(a1), "r"(a2), "r"(a7) : "memory");
    return a0;
}

static size_t length(const char *text) {
    size_t n = 0;
    while (text[n])
        n++;
    return n;
}

static void print(const char *text) { system_call(64, 1, (long)text, (long)length(text)); }

static inline void print_number(unsigned long number) {
    char digits[24], *at = digits + sizeof digits - 1;
    *at = 0;
    do
        *--at = (char)('0' + number % 10);
    while (number /= 10);
    print(at);
}

static int run(int argc, char **argv);

// The kernel enters with the stack pointer at argc, argv[0], …: see the ELF psABI, "process initialization".
__attribute__((used)) static void start(long *stack) { system_call(93, run((int)stack[0], (char **)(stack + 1)), 0, 0); }

__asm__(".globl _start\n_start:\n\t.option push\n\t.option norelax\n\tla gp, __global_pointer$\n\t.option pop\n"
        "\tmv a0, sp\n\tandi sp, sp, -16\n\ttail start\n");
