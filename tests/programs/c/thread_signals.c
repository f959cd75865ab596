// Signals between threads: to a thread and to the process, with masks of each thread, queued ones that one of them waits
// for, and calls that go on after a handler. How many of those to others arrive is nobody's promise: while one waits, the
// next of the same number are merged with it.
// link: -pthread
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 3, ROUNDS = 50, QUEUED = 20 };

static atomic_int handled[65], wrong;
static _Thread_local volatile int mine;
static pthread_t threads[THREADS];
static sem_t begin, never;

static void handle(int number, siginfo_t *info, void *context) {
    (void)context;
    handled[number]++;
    mine++;
    if (info->si_pid != getpid())
        wrong++;
}

static void *send(void *argument) {
    long id = (long)argument;
    sem_wait(&begin);
    for (int i = 0; i < ROUNDS; i++) {
        int before = mine;
        pthread_kill(pthread_self(), SIGUSR1);
        if (mine == before)
            wrong++;
        pthread_kill(threads[(id + 1) % THREADS], SIGUSR2);
        kill(getpid(), SIGWINCH);
    }
    return NULL;
}

static void *receive(void *argument) {
    sigset_t *set = argument;
    long count = 0;
    int number;
    while (count < QUEUED)
        if (sigwait(set, &number) == 0 && sigismember(set, number))
            count++;
    return (void *)count;
}

static void *wait_on(void *argument) {
    (void)argument;
    while (sem_wait(&never) != 0)
        wrong += 1000;
    return NULL;
}

int main(void) {
    struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigset_t set;
    pthread_t thread;
    void *received;
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGUSR2, &action, NULL);
    sigaction(SIGWINCH, &action, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 3);
    pthread_sigmask(SIG_BLOCK, &set, NULL);

    sem_init(&begin, 0, 0);
    for (long i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, send, (void *)i);
    for (int i = 0; i < THREADS; i++)
        sem_post(&begin);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);

    pthread_create(&thread, NULL, receive, &set);
    for (int i = 0; i < QUEUED; i++)
        sigqueue(getpid(), SIGRTMIN + 3, (union sigval){.sival_int = i});
    pthread_join(thread, &received);

    sem_init(&never, 0, 0);
    pthread_create(&thread, NULL, wait_on, NULL);
    for (int i = 0; i < 20; i++) {
        pthread_kill(thread, SIGUSR2);
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    sem_post(&never);
    pthread_join(thread, NULL);
    printf("own %d, others' %s, process %s, queued %ld, wrong %d\n", handled[SIGUSR1],
           handled[SIGUSR2] ? "yes" : "no", handled[SIGWINCH] ? "yes" : "no", (long)received, wrong);
    return 0;
}
