// Ends by SIGABRT: an ignored signal first, then a handler that runs, then abort.
// exit: 134
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static volatile sig_atomic_t handled;

static void handler(int number) { handled = number; }

int main(void) {
    signal(SIGUSR1, SIG_IGN);
    raise(SIGUSR1);
    signal(SIGUSR2, handler);
    raise(SIGUSR2);
    printf("handled %d\n", handled == SIGUSR2);
    fflush(stdout);
    abort();
}
