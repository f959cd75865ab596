// Signal handling: sigaction with siginfo, masks, alternate stack, faults caught and left by siglongjmp.
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static sigjmp_buf escape;
static volatile uintptr_t fault_address;
static volatile sig_atomic_t count, last, code, on_alternate;
static char alternate[32768];

static void counting(int number, siginfo_t *info, void *context) {
    (void)context;
    count++;
    last = number;
    code = info->si_code;
}

static void faulting(int number, siginfo_t *info, void *context) {
    char here;
    (void)context;
    last = number;
    code = info->si_code;
    fault_address = (uintptr_t)info->si_addr;
    on_alternate = &here >= alternate && &here < alternate + sizeof alternate;
    siglongjmp(escape, 1);
}

static void install(int number, void (*handler)(int, siginfo_t *, void *), int flags) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | flags;
    sigaction(number, &action, NULL);
}

static void faults(void) {
    volatile char *area = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
    sigaltstack(&stack, NULL);
    install(SIGSEGV, faulting, SA_ONSTACK);
    for (volatile int i = 0; i < 3; i++) {
        if (sigsetjmp(escape, 1) == 0)
            area[4096 + i] = 1;
        else
            printf("fault %d code %d offset %ld alternate %d\n", last, code, (long)(fault_address - (uintptr_t)area), on_alternate);
    }
    munmap((void *)area, 8192);
    if (sigsetjmp(escape, 1) == 0)
        printf("%d\n", area[5]);
    else
        printf("unmapped code %d offset %ld\n", code, (long)(fault_address - (uintptr_t)area));
}

int main(void) {
    install(SIGUSR1, counting, 0);
    for (int i = 0; i < 5; i++)
        raise(SIGUSR1);
    printf("count %d last %d tkill %d\n", count, last == SIGUSR1, code == SI_TKILL);
    sigset_t block, pending;
    sigemptyset(&block);
    sigaddset(&block, SIGUSR1);
    sigprocmask(SIG_BLOCK, &block, NULL);
    kill(getpid(), SIGUSR1);
    sigpending(&pending);
    printf("blocked %d pending %d\n", count, sigismember(&pending, SIGUSR1));
    sigprocmask(SIG_UNBLOCK, &block, NULL);
    printf("released %d user %d\n", count, code == SI_USER);
    faults();
    return 0;
}
