// Mutexes whose owner inherits the priority of who waits: all kinds, under contention, with limits of time, in condition
// variables, and the futex calls that move waiters from one to the other.
// link: -pthread
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef FUTEX_LOCK_PI2
#define FUTEX_LOCK_PI2 13
#endif

enum { WORKERS = 4, ROUNDS = 50 };

static void check(int ok, const char *what) {
    if (!ok) {
        printf("failed: %s\n", what);
        exit(1);
    }
}

static void make(pthread_mutex_t *mutex, int kind) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    check(pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT) == 0, "setprotocol");
    check(pthread_mutexattr_settype(&attributes, kind) == 0, "settype");
    check(pthread_mutex_init(mutex, &attributes) == 0, "mutex_init");
}

static void start(pthread_t *thread, void *(*run)(void *), void *argument) {
    check(pthread_create(thread, NULL, run, argument) == 0, "pthread_create");
}

static const char *in_a_thread(void *(*run)(void *), void *argument) {
    pthread_t thread;
    void *result;
    start(&thread, run, argument);
    pthread_join(thread, &result);
    return strerrorname_np((int)(intptr_t)result) ?: "0";
}

static void *try(void *mutex) {
    return (void *)(intptr_t)pthread_mutex_trylock(mutex);
}

static struct timespec after(clockid_t clock, long milliseconds) {
    struct timespec at;
    clock_gettime(clock, &at);
    at.tv_nsec += milliseconds * 1000000;
    at.tv_sec += at.tv_nsec / 1000000000, at.tv_nsec %= 1000000000;
    return at;
}

static void *lock_for_a_while(void *mutex) {
    struct timespec limit = after(CLOCK_REALTIME, 20);
    return (void *)(intptr_t)pthread_mutex_timedlock(mutex, &limit);
}

static void *lock_at_last(void *mutex) {
    struct timespec limit = after(CLOCK_REALTIME, 60000);
    int error = pthread_mutex_timedlock(mutex, &limit);
    if (error == 0)
        pthread_mutex_unlock(mutex);
    return (void *)(intptr_t)error;
}

static pthread_mutex_t contended;
static long counter;

static void *count(void *unused) {
    for (int i = 0; i < ROUNDS; i++) {
        pthread_mutex_lock(&contended);
        long before = counter;
        if (i % 8 == 0)
            sched_yield();
        counter = before + 1;
        pthread_mutex_unlock(&contended);
    }
    return unused;
}

static void kinds(void) {
    static const struct {
        const char *name;
        int kind;
    } all[] = {
        {"normal", PTHREAD_MUTEX_NORMAL},
        {"recursive", PTHREAD_MUTEX_RECURSIVE},
        {"errorcheck", PTHREAD_MUTEX_ERRORCHECK},
    };
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
        pthread_mutex_t mutex;
        make(&mutex, all[i].kind);
        printf("%s: %d", all[i].name, pthread_mutex_lock(&mutex));
        if (all[i].kind != PTHREAD_MUTEX_NORMAL) // which would wait for itself
            printf(" again %s", strerrorname_np(pthread_mutex_lock(&mutex)) ?: "0");
        if (all[i].kind == PTHREAD_MUTEX_RECURSIVE)
            pthread_mutex_unlock(&mutex);
        printf(", others %s", in_a_thread(try, &mutex));
        printf(", in time %s", in_a_thread(lock_for_a_while, &mutex));
        pthread_t waiter;
        void *result;
        start(&waiter, lock_at_last, &mutex);
        usleep(20000);
        pthread_mutex_unlock(&mutex);
        pthread_join(waiter, &result);
        printf(", at last %d", (int)(intptr_t)result);
        if (all[i].kind != PTHREAD_MUTEX_NORMAL)
            printf(", not owned %s", strerrorname_np(pthread_mutex_unlock(&mutex)) ?: "0");
        printf(", destroyed %d\n", pthread_mutex_destroy(&mutex));
    }
}

static void contention(void) {
    pthread_t threads[WORKERS];
    make(&contended, PTHREAD_MUTEX_NORMAL);
    for (int i = 0; i < WORKERS; i++)
        start(&threads[i], count, NULL);
    for (int i = 0; i < WORKERS; i++)
        pthread_join(threads[i], NULL);
    printf("counted: %ld\n", counter);
}

// A condition variable with such a mutex: a ball that goes from thread to thread.

static pthread_mutex_t game;
static pthread_cond_t thrown = PTHREAD_COND_INITIALIZER;
static int ball;

static void *player(void *number) {
    int mine = (int)(intptr_t)number;
    for (int i = 0; i < ROUNDS; i++) {
        pthread_mutex_lock(&game);
        while (ball % WORKERS != mine)
            pthread_cond_wait(&thrown, &game);
        ball++;
        pthread_cond_broadcast(&thrown);
        pthread_mutex_unlock(&game);
    }
    return NULL;
}

static void conditions(void) {
    pthread_t threads[WORKERS];
    make(&game, PTHREAD_MUTEX_ERRORCHECK);
    for (int i = 0; i < WORKERS; i++)
        start(&threads[i], player, (void *)(intptr_t)i);
    for (int i = 0; i < WORKERS; i++)
        pthread_join(threads[i], NULL);
    struct timespec limit = after(CLOCK_REALTIME, 10);
    pthread_mutex_lock(&game);
    int error = pthread_cond_timedwait(&thrown, &game, &limit);
    printf("thrown: %d, then %s, still owned: %d\n", ball, strerrorname_np(error), pthread_mutex_unlock(&game) == 0);
}

// The calls themselves.

static long futex(_Atomic uint32_t *word, int operation, uint32_t value, uintptr_t limit, void *other, uint32_t more) {
    long result = syscall(SYS_futex, word, operation, value, limit, other, more);
    return result < 0 ? -errno : result;
}

static const char *name(long result) {
    return result < 0 ? strerrorname_np((int)-result) : "0";
}

static _Atomic uint32_t condition, word;

static void *hold(void *barrier) {
    check(futex(&word, FUTEX_LOCK_PI_PRIVATE, 0, 0, NULL, 0) == 0, "LOCK_PI");
    pthread_barrier_wait(barrier);
    pthread_barrier_wait(barrier);
    check(futex(&word, FUTEX_UNLOCK_PI_PRIVATE, 0, 0, NULL, 0) == 0, "UNLOCK_PI");
    return NULL;
}

static void *wait_and_own(void *unused) {
    long result = futex(&condition, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 7, 0, &word, 0);
    check(result == 0, "WAIT_REQUEUE_PI");
    check((word & FUTEX_TID_MASK) == gettid(), "the waiter owns it");
    check(futex(&word, FUTEX_UNLOCK_PI_PRIVATE, 0, 0, NULL, 0) == 0, "UNLOCK_PI of the waiter");
    return unused;
}

static void calls(void) {
    pthread_barrier_t barrier;
    pthread_t holder, waiters[3];
    pthread_barrier_init(&barrier, NULL, 2);
    printf("not owned: %s\n", name(futex(&word, FUTEX_UNLOCK_PI, 0, 0, NULL, 0)));
    start(&holder, hold, &barrier);
    pthread_barrier_wait(&barrier);
    printf("owned: %d\n", (word & FUTEX_TID_MASK) != 0 && (word & FUTEX_TID_MASK) != getpid());
    printf("tried: %s\n", name(futex(&word, FUTEX_TRYLOCK_PI_PRIVATE, 0, 0, NULL, 0)));
    struct timespec limit = after(CLOCK_REALTIME, 10);
    printf("in time: %s\n", name(futex(&word, FUTEX_LOCK_PI_PRIVATE, 0, (uintptr_t)&limit, NULL, 0)));
    limit = after(CLOCK_MONOTONIC, 10);
    long result = futex(&condition, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, (uintptr_t)&limit, &word, 0);
    printf("not moved: %s\n", name(result));
    limit.tv_nsec = -1;
    printf("nonsense: %s\n", name(futex(&word, FUTEX_LOCK_PI_PRIVATE, 0, (uintptr_t)&limit, NULL, 0)));
    condition = 7;
    for (int i = 0; i < 3; i++)
        start(&waiters[i], wait_and_own, NULL);
    printf("changed: %s\n", name(futex(&condition, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, 0, &word, 8)));
    long moved = 0;
    while (moved < 3) {
        result = futex(&condition, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, 10, &word, 7);
        check(result >= 0, "CMP_REQUEUE_PI");
        moved += result;
        usleep(1000);
    }
    printf("moved: %ld\n", moved);
    pthread_barrier_wait(&barrier);
    pthread_join(holder, NULL);
    for (int i = 0; i < 3; i++)
        pthread_join(waiters[i], NULL);
    printf("free: %d\n", word == 0);
}

// A handler while the lock is waited for: the wait goes on.

static atomic_int handled;

static void note(int number) {
    handled += number == SIGUSR1;
}

static void *wait_through_a_signal(void *mutex) {
    return (void *)(intptr_t)pthread_mutex_lock(mutex);
}

static void signals(int flags) {
    struct sigaction action = {.sa_handler = note, .sa_flags = flags};
    pthread_mutex_t mutex;
    pthread_t waiter;
    void *result;
    make(&mutex, PTHREAD_MUTEX_NORMAL);
    pthread_mutex_lock(&mutex);
    handled = 0;
    sigaction(SIGUSR1, &action, NULL);
    start(&waiter, wait_through_a_signal, &mutex);
    for (int i = 1; i <= 3; i++) {
        usleep(10000);
        pthread_kill(waiter, SIGUSR1);
        while (handled < i)
            usleep(1000);
    }
    pthread_mutex_unlock(&mutex);
    pthread_join(waiter, &result);
    printf("locked after %d signals: %d\n", handled, (int)(intptr_t)result);
}

int main(void) {
    kinds();
    contention();
    conditions();
    calls();
    signals(0);
    signals(SA_RESTART);
    return 0;
}
