// Ends by SIGABRT: ignored signals first, a blocked one that is given up again, then abort.
// exit: 134
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    signal(SIGUSR1, SIG_IGN);
    raise(SIGUSR1);
    printf("default %d\n", signal(SIGUSR2, SIG_IGN) == SIG_DFL);
    sigset_t set, pending;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigaddset(&set, SIGABRT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGABRT);
    sigpending(&pending);
    printf("pending %d %d\n", sigismember(&pending, SIGABRT), sigismember(&pending, SIGTERM));
    signal(SIGABRT, SIG_IGN);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    printf("ignored %d\n", signal(SIGABRT, SIG_DFL) == SIG_IGN);
    fflush(stdout);
    abort();
}
