// Faults inside hot loops: the handler sees pc, address and every register exactly, and what it changes takes effect.
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { ROUNDS = 4000, PAGE = 4096 };
enum { SKIP, REPAIR };

static char *area; // writable pages, then one to read only
uintptr_t loop_start;
static int answer;
static volatile int caught;

// A loop that changes most registers each round; `step` comes last, and faults in some round.
// a0: counter, a1: pointer, a2: what `step` uses.
#define LOOP(name, step)                                                                                             \
    __attribute__((noinline)) static long name(long rounds, char *pointer, long extra) {                             \
        register long a0 asm("a0") = rounds;                                                                         \
        register char *a1 asm("a1") = pointer;                                                                       \
        register long a2 asm("a2") = extra;                                                                          \
        asm volatile("la t0, 1f\n\t"                                                                                 \
                     "la t1, loop_start\n\t"                                                                         \
                     "sd t0, 0(t1)\n\t"                                                                              \
                     "li t0, 1\n\tli t1, 2\n\tli t2, 3\n\tli t3, 5\n\tli t4, 7\n\tli t5, 11\n\tli t6, 13\n\t"        \
                     "li s2, 17\n\tli s3, 19\n\tli s4, 23\n\tli s5, 29\n\tli a3, 31\n\tli a4, 37\n\tli a5, 41\n\t"   \
                     "fcvt.d.l ft0, t0\n\tfcvt.d.l ft1, t3\n\tfcvt.s.l ft2, t6\n\tfmv.d ft3, ft1\n\t"                \
                     "fsflags x0\n\t"                                                                                \
                     "1:\n\t"                                                                                        \
                     "addi a0, a0, -1\n\t"                                                                           \
                     "add t0, t0, t1\n\txor t1, t1, t6\n\tslli t2, t0, 3\n\tmul t3, t3, t4\n\taddw t4, t4, t5\n\t"   \
                     "sub t5, t2, t4\n\tsrli t6, t5, 1\n\tadd s2, s2, a0\n\txor s3, s2, t3\n\t"                      \
                     "fadd.d ft0, ft0, ft1\n\tfdiv.s ft2, ft2, ft2\n\t"                                              \
                     "sd t3, 0(a1)\n\t"                                                                              \
                     "add s4, s4, s3\n\taddi a3, a3, 3\n\tld a4, 0(a1)\n\tsub s5, s5, a4\n\taddi a5, a5, 1\n\t"      \
                     "fmadd.d ft3, ft3, ft1, ft0\n\tfdiv.d ft1, ft1, ft0\n\t" step "\n\t"                            \
                     "add s5, s5, s4\n\t"                                                                            \
                     "bnez a0, 1b\n\t"                                                                               \
                     : "+r"(a0), "+r"(a1), "+r"(a2)                                                                  \
                     :                                                                                               \
                     : "t0", "t1", "t2", "t3", "t4", "t5", "t6", "s2", "s3", "s4", "s5", "a3", "a4", "a5", "ft0",    \
                       "ft1", "ft2", "ft3", "ra", "memory");                                                               \
        return a2;                                                                                                   \
    }

// a2 is added to the pointer in each round, or is an address that becomes the one accessed when the counter is low.
LOOP(store_onwards, "add a1, a1, a2")
LOOP(load_null, "slti t0, a0, 9\n\taddi t0, t0, -1\n\tand t0, t0, a1\n\tlbu a4, 3(t0)")
LOOP(swap_misaligned, "slti t0, a0, 5\n\tslli t0, t0, 1\n\tadd t0, t0, a1\n\tamoadd.w a4, a3, (t0)")
LOOP(illegal, "li t0, 7\n\tbne a0, t0, 2f\n\t.word 0xffffffff\n\t2:")
LOOP(stop, "li t0, 12\n\tbne a0, t0, 2f\n\t.option push\n\t.option norvc\n\tebreak\n\t.option pop\n\t2:")
LOOP(jump, "li t0, 6\n\tbne a0, t0, 2f\n\tjalr ra, 0(a2)\n\t2:")

static uint64_t hash(uint64_t seed, const void *data, size_t size) {
    const unsigned char *bytes = data;
    for (size_t i = 0; i < size; i++)
        seed = (seed ^ bytes[i]) * 0x100000001b3;
    return seed;
}

static void handler(int number, siginfo_t *info, void *pointer) {
    ucontext_t *context = pointer;
    unsigned long *x = (unsigned long *)context->uc_mcontext.__gregs; // pc, x1, ...
    struct __riscv_mc_d_ext_state *f = &context->uc_mcontext.__fpregs.__d;
    long where = (long)(x[REG_PC] - loop_start), address = (long)info->si_addr - (long)area;
    caught++;
    if (number == SIGSEGV && (unsigned long)info->si_addr < PAGE)
        address = (long)info->si_addr;
    if (number == SIGILL || number == SIGTRAP)
        address = (long)info->si_addr - (long)loop_start;
    if (number == SIGSEGV && info->si_addr == (void *)x[REG_PC])
        where = -1;
    printf("signal %d code %d pc %ld address %ld counter %lu pointer %ld flags %lx", number, info->si_code, where,
           address, x[10], (long)x[11] - (long)area, (unsigned long)f->__fcsr);
    uint64_t ints = 0xcbf29ce484222325, floats = ints;
    for (int i = 5; i < 32; i++) // t0..t6, s2..s5, a3..a5
        if (i <= 7 || (i >= 13 && i <= 15) || (i >= 18 && i <= 21) || i >= 28)
            ints = hash(ints, &x[i], 8);
    floats = hash(floats, &f->__f[0], 4 * sizeof f->__f[0]);
    printf(" registers %016lx floats %016lx\n", ints, floats);
    x[28] ^= 0x55; // the rest of the loop computes with these
    f->__f[3] = 0x3ff8000000000000;
    f->__fcsr = 0;
    if (answer == REPAIR)
        mprotect(area + 2 * PAGE, PAGE, PROT_READ | PROT_WRITE);
    else if (where == -1)
        x[REG_PC] = x[1];
    else
        x[REG_PC] += 4;
}

static void show(const char *name, long result) {
    printf("%s: caught %d, result %ld, area %016lx\n", name, caught, result, hash(1, area, 2 * PAGE));
    caught = 0;
}

int main(void) {
    setvbuf(stdout, NULL, _IONBF, 0);
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP};
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    area = mmap((void *)0x200000000, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    mprotect(area + 2 * PAGE, PAGE, PROT_READ);
    for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaction(numbers[i], &action, NULL);
    for (int round = 0; round < 2; round++) {
        answer = REPAIR;
        show("store onwards", store_onwards(ROUNDS / 3, area, 8));
        mprotect(area + 2 * PAGE, PAGE, PROT_READ);
        answer = SKIP;
        show("load null", load_null(ROUNDS, area, 0));
        show("swap misaligned", swap_misaligned(ROUNDS, area + 64, 0));
        show("illegal", illegal(ROUNDS, area + 8, 0));
        show("stop", stop(ROUNDS, area + 16, 0));
        show("jump", jump(ROUNDS, area + 24, (long)area + PAGE));
    }
    return 0;
}
