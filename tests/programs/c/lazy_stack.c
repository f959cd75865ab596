// A stack and a heap that a SIGSEGV handler makes accessible page by page, from within recursion and hot loops.
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define PAGE 4096
#define STACK (1 << 20)
#define HEAP (512 << 10)

static char *stack, *heap;
static volatile int grown, thawed;

static void grow(int signal, siginfo_t *info, void *context) {
    char *at = (char *)((uintptr_t)info->si_addr & -(uintptr_t)PAGE);
    if (at >= stack && at < stack + STACK)
        grown++;
    else if (at >= heap && at < heap + HEAP)
        thawed++;
    else
        _Exit(3);
    if (mprotect(at, PAGE, PROT_READ | PROT_WRITE))
        _Exit(4);
}

static uint64_t deep(int depth, uint64_t seed) {
    volatile uint64_t kept[8];
    for (int i = 0; i < 8; i++)
        kept[i] = seed = seed * 6364136223846793005u + i;
    if (depth)
        seed += deep(depth - 1, seed ^ depth);
    for (int i = 0; i < 8; i++)
        seed = (seed << 5 | seed >> 59) ^ kept[i];
    return seed;
}

static ucontext_t main_context, deep_context;
static uint64_t result;

static void on_new_stack(void) {
    for (int depth = 10; depth < 3500; depth = depth * 3 / 2)
        result += deep(depth, depth);
}

int main(void) {
    stack = mmap(0, STACK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    heap = mmap(0, HEAP, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack == MAP_FAILED || heap == MAP_FAILED)
        return 1;
    stack_t alternate = {.ss_sp = malloc(65536), .ss_size = 65536};
    sigaltstack(&alternate, 0);
    struct sigaction action = {.sa_sigaction = grow, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaction(SIGSEGV, &action, 0);

    mprotect(stack + STACK - 4 * PAGE, 4 * PAGE, PROT_READ | PROT_WRITE);
    getcontext(&deep_context);
    deep_context.uc_stack.ss_sp = stack;
    deep_context.uc_stack.ss_size = STACK;
    deep_context.uc_link = &main_context;
    makecontext(&deep_context, on_new_stack, 0);
    swapcontext(&main_context, &deep_context);
    printf("%016llx %s\n", (unsigned long long)result, grown > 50 ? "grown" : "not grown");

    // Sums that live in registers while the loop that faults is hot.
    uint64_t a = 1, b = 2, c = 3, *words = (uint64_t *)heap;
    double d = 0.5;
    for (int round = 0; round < 2; round++)
        for (long i = 0; i < HEAP / 8; i += 3) {
            a += words[i] ^ b;
            b = b * 3 + i;
            words[i] = a + c;
            c ^= b >> 7;
            d = d * 0.75 + (double)(i & 15);
        }
    printf("%016llx %016llx %016llx %.17g %d\n", (unsigned long long)a, (unsigned long long)b, (unsigned long long)c, d,
           thawed);

    // The same pages again, taken away while they are known; a read-only page is no page to write to.
    thawed = 0;
    mprotect(heap, HEAP / 2, PROT_READ);
    for (long i = 0; i < HEAP / 8; i += 64)
        a += words[i]++;
    printf("%016llx %d\n", (unsigned long long)a, thawed);
    return 0;
}
