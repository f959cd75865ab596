// Threads that come and go and meet in every way: mutexes, condition variables, barriers, semaphores, reader-writer
// locks, atomics of all sizes, thread-local storage, keys with destructors, robust locks of dead owners, cancellation.
// link: -pthread
// args: 40 1
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { WORKERS = 4, PHASES = 10 };

static int rounds, generations; // the arguments

static void check(int ok, const char *what) {
    if (!ok) {
        printf("failed: %s\n", what);
        exit(1);
    }
}

static void start(pthread_t *thread, void *(*run)(void *), void *argument) {
    check(pthread_create(thread, NULL, run, argument) == 0, "pthread_create");
}

static void *join(pthread_t thread) {
    void *result;
    check(pthread_join(thread, &result) == 0, "pthread_join");
    return result;
}

// Counters of several sizes; each worker adds as often as all others.

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_spinlock_t spin;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static long guarded, spun, written;
static atomic_schar bytes;
static atomic_short shorts;
static atomic_int ints, ored, largest;
static atomic_long longs, exchanged;
static _Thread_local long own = 7;
static pthread_key_t key;
static atomic_int destroyed;

static void destroy(void *value) {
    destroyed += (int)(intptr_t)value;
}

static void *count(void *argument) {
    long id = (long)argument;
    check(own == 7, "thread-local storage of a new thread");
    pthread_setspecific(key, (void *)1);
    for (int i = 0; i < rounds; i++) {
        own++;
        bytes++;
        shorts += 3;
        ints++;
        atomic_fetch_or(&ored, 1 << (i % 31));
        longs += id;
        long seen = exchanged;
        while (!atomic_compare_exchange_weak(&exchanged, &seen, seen * 5 + 1))
            ;
        int most = largest;
        while (most < i && !atomic_compare_exchange_weak(&largest, &most, i))
            ;
        pthread_mutex_lock(&lock);
        guarded += id;
        pthread_mutex_unlock(&lock);
        pthread_spin_lock(&spin);
        spun++;
        pthread_spin_unlock(&spin);
        if (i % 10 == 0) {
            pthread_rwlock_wrlock(&rwlock);
            written++;
            pthread_rwlock_unlock(&rwlock);
        } else {
            pthread_rwlock_rdlock(&rwlock);
            check(written >= 0, "reading under a lock");
            pthread_rwlock_unlock(&rwlock);
        }
    }
    return (void *)own;
}

// A bounded queue by condition variables, and one by semaphores.

static pthread_cond_t filled = PTHREAD_COND_INITIALIZER, emptied = PTHREAD_COND_INITIALIZER;
static long queue[8], queued, head;
static sem_t items, places;
static atomic_long through;

static void *produce(void *argument) {
    (void)argument;
    for (long i = 1; i <= rounds; i++) {
        pthread_mutex_lock(&lock);
        while (queued == 8)
            pthread_cond_wait(&emptied, &lock);
        queue[(head + queued++) % 8] = i;
        pthread_cond_signal(&filled);
        pthread_mutex_unlock(&lock);
        sem_wait(&places);
        through += i;
        sem_post(&items);
    }
    return NULL;
}

static void *consume(void *argument) {
    long sum = 0;
    (void)argument;
    for (int i = 0; i < rounds; i++) {
        pthread_mutex_lock(&lock);
        while (queued == 0)
            pthread_cond_wait(&filled, &lock);
        sum += queue[head];
        head = (head + 1) % 8;
        queued--;
        pthread_cond_broadcast(&emptied);
        pthread_mutex_unlock(&lock);
        sem_wait(&items);
        sem_post(&places);
    }
    return (void *)sum;
}

// Barriers: in each phase every worker sees what all others wrote in the phase before.

static pthread_barrier_t barrier;
static long board[2][WORKERS];

static void *march(void *argument) {
    long id = (long)argument, serial = 0;
    for (int phase = 0; phase < PHASES; phase++) {
        board[phase % 2][id] = phase * 10 + id;
        serial += pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD;
        for (long other = 0; other < WORKERS; other++)
            check(board[phase % 2][other] == phase * 10 + other, "a barrier");
    }
    return (void *)serial;
}

// What else a thread may do.

static pthread_mutex_t robust;

static void *die_with_lock(void *argument) {
    (void)argument;
    pthread_mutex_lock(&robust);
    return NULL;
}

static void *wait_for_ever(void *argument) {
    pthread_cleanup_push(destroy, (void *)100);
    sem_wait(argument);
    pthread_cleanup_pop(0);
    return NULL;
}

static void *wait_a_little(void *argument) {
    struct timespec until;
    (void)argument;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 2000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_mutex_lock(&lock);
    int result = pthread_cond_timedwait(&filled, &lock, &until);
    pthread_mutex_unlock(&lock);
    return (void *)(long)(result == ETIMEDOUT);
}

static void *one(void *argument) {
    return (void *)((long)argument + 1);
}

static void meet(void) {
    pthread_t threads[2 * WORKERS];
    long sum = 0;
    for (long i = 0; i < WORKERS; i++)
        start(&threads[i], count, (void *)(i + 1));
    for (int i = 0; i < WORKERS; i++)
        sum += (long)join(threads[i]);
    check(sum == WORKERS * (rounds + 7), "thread-local sums");

    for (int i = 0; i < WORKERS; i++)
        start(&threads[i], i % 2 ? produce : consume, NULL);
    for (int i = 0; i < WORKERS; i++)
        sum += (long)join(threads[i]);
    check(sum == WORKERS * (rounds + 7) + WORKERS / 2 * rounds * (rounds + 1) / 2, "what went through the queue");

    pthread_barrier_init(&barrier, NULL, WORKERS);
    for (long i = 0; i < WORKERS; i++)
        start(&threads[i], march, (void *)i);
    sum = 0;
    for (int i = 0; i < WORKERS; i++)
        sum += (long)join(threads[i]);
    check(sum == PHASES, "one serial thread a phase");
    pthread_barrier_destroy(&barrier);

    pthread_t dead;
    start(&dead, die_with_lock, NULL);
    join(dead);
    check(pthread_mutex_lock(&robust) == EOWNERDEAD, "the lock of a dead owner");
    pthread_mutex_consistent(&robust);
    pthread_mutex_unlock(&robust);

    sem_t never;
    sem_init(&never, 0, 0);
    start(&dead, wait_for_ever, &never);
    pthread_cancel(dead);
    check(join(dead) == PTHREAD_CANCELED, "a cancelled thread");
    start(&dead, wait_a_little, NULL);
    check(join(dead) == (void *)1, "a wait with a timeout");

    for (int round = 0; round < 5; round++) {
        for (long i = 0; i < 2 * WORKERS; i++)
            start(&threads[i], one, (void *)i);
        for (long i = 0; i < 2 * WORKERS; i++)
            check(join(threads[i]) == (void *)(i + 1), "the result of a thread");
    }
}

int main(int argc, char **argv) {
    check(argc == 3, "two arguments");
    rounds = atoi(argv[1]), generations = atoi(argv[2]);
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&robust, &attributes);
    pthread_spin_init(&spin, PTHREAD_PROCESS_PRIVATE);
    pthread_key_create(&key, destroy);
    sem_init(&items, 0, 0);
    sem_init(&places, 0, 5);
    for (int generation = 0; generation < generations; generation++)
        meet();
    printf("guarded %ld spun %ld written %ld longs %ld through %ld\n", guarded, spun, written, (long)longs, (long)through);
    printf("bytes %d shorts %d ints %d ored %#x largest %d\n", bytes, shorts, ints, (unsigned)ored, largest);
    printf("exchanged %lx destroyed %d own %ld\n", (long)exchanged, destroyed >= generations * WORKERS, own);
    return 0;
}
