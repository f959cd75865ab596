// The same work done by one or more threads: parts of 20000 steps through a table of each thread's own. The argument is
// the number of threads in its last digit and of parts in the others. Prints a checksum, the same for any number.
// args: 82
#include "../kernels/kernel.h"

enum { MOST_THREADS = 8, STEPS = 20000, TABLE = 1024, STACK = 16384 };
enum { CLONE = 220, FUTEX = 98, FUTEX_WAIT = 0 };
enum { FLAGS = 0x350f00 }; // CLONE_VM FS FILES SIGHAND THREAD SYSVSEM PARENT_SETTID CHILD_CLEARTID

static long parts, threads;
static uint64_t results[MOST_THREADS];
static int tids[MOST_THREADS]; // 0 when a thread has ended
static char stacks[MOST_THREADS][STACK] __attribute__((aligned(16)));

static uint64_t part(uint64_t state, uint32_t *table) {
    uint64_t sum = 0;
    for (int i = 0; i < STEPS; i++) {
        uint64_t random = next_random(&state);
        table[random % TABLE] += (uint32_t)random;
        sum += table[(random >> 20) % TABLE];
    }
    return sum;
}

__attribute__((used)) static void work(long thread) {
    uint32_t table[TABLE];
    uint64_t sum = 0;
    for (long i = thread; i < parts; i += threads) {
        for (int j = 0; j < TABLE; j++)
            table[j] = (uint32_t)j * 2654435761u;
        sum += part((uint64_t)i + 1, table);
    }
    results[thread] = sum;
}

// clone, after which the new thread calls work(thread) on its stack and ends.
static void start_thread(long thread) {
    register long a0 __asm__("a0") = FLAGS, a1 __asm__("a1") = (long)stacks[thread + 1];
    register int *a2 __asm__("a2") = &tids[thread], *a4 __asm__("a4") = &tids[thread];
    register long a7 __asm__("a7") = CLONE, t0 __asm__("t0") = thread;
    __asm__ volatile("ecall\n\tbnez a0, 1f\n\tmv a0, t0\n\tcall work\n\tli a7, 93\n\tli a0, 0\n\tecall\n1:"
                     : "+r"(a0)
                     : "r"(a1), "r"(a2), "r"(a4), "r"(a7), "r"(t0)
                     : "memory", "ra");
}

static void join(long thread) {
    int tid;
    while ((tid = __atomic_load_n(&tids[thread], __ATOMIC_ACQUIRE)) != 0) {
        register long a0 __asm__("a0") = (long)&tids[thread], a1 __asm__("a1") = FUTEX_WAIT, a2 __asm__("a2") = tid;
        register long a3 __asm__("a3") = 0, a7 __asm__("a7") = FUTEX;
        __asm__ volatile("ecall" : "+r"(a0) : "r"(a1), "r"(a2), "r"(a3), "r"(a7) : "memory");
    }
}

static void kernel(long argument) {
    uint64_t sum = 0;
    threads = argument % 10, parts = argument / 10;
    if (threads < 1 || threads > MOST_THREADS)
        return print("one to eight threads");
    for (long i = 1; i < threads; i++)
        start_thread(i);
    work(0);
    for (long i = 1; i < threads; i++)
        join(i);
    for (long i = 0; i < threads; i++)
        sum += results[i];
    print_hex(sum);
}
