// How long a signal from another process takes into a loop: from kill to the handler's first reading of a clock. The figures
// go to standard error.
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { COUNT = 100 };

static struct shared {
    volatile uint64_t handled, when;
} *shared;

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void handler(int number) {
    (void)number;
    shared->when = now();
    shared->handled++;
}

static int compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void send(pid_t to) {
    static uint64_t times[COUNT];
    struct timespec pause = {0, 3000000}, moment = {0, 100000}, until_it_is_hot = {1, 0};
    nanosleep(&until_it_is_hot, NULL);
    for (int i = 0; i < COUNT; i++) {
        nanosleep(&pause, NULL);
        uint64_t seen = shared->handled, before = now();
        kill(to, SIGUSR1);
        while (shared->handled == seen)
            nanosleep(&moment, NULL);
        times[i] = shared->when - before;
    }
    qsort(times, COUNT, sizeof *times, compare);
    fprintf(stderr, "us: least %.0f, median %.0f, most %.0f\n", (double)times[0] / 1e3, (double)times[COUNT / 2] / 1e3,
            (double)times[COUNT - 1] / 1e3);
    kill(to, SIGUSR1);
}

int main(void) {
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    signal(SIGUSR1, handler);
    pid_t parent = getpid(), child = fork();
    if (!child) {
        send(parent);
        _exit(0);
    }
    uint64_t a = 1, b = 2;
    while (shared->handled <= COUNT)
        for (int i = 0; i < 1000; i++)
            a = a * 6364136223846793005u + b, b ^= a >> 13;
    int status;
    waitpid(child, &status, 0);
    printf("signals: %d, child %d, loop %d\n", (int)shared->handled, status, a != b);
    return 0;
}
