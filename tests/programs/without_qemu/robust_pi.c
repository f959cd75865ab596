// Robust mutexes with priority inheritance, whose owners end: a thread while others wait or before, and a process.
// link: -pthread
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WAITERS = 3 };

static pthread_mutex_t *mutex;
static pthread_barrier_t barrier;

static void make(int is_shared) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_setpshared(&attributes, is_shared ? PTHREAD_PROCESS_SHARED : PTHREAD_PROCESS_PRIVATE);
    memset(mutex, 0, sizeof *mutex);
    pthread_mutex_init(mutex, &attributes);
}

static const char *name(int error) {
    return error ? strerrorname_np(error) : "0";
}

static void *lock_and_end(void *wanted) {
    pthread_mutex_lock(mutex);
    if (wanted) {
        pthread_barrier_wait(&barrier);
        usleep(50000);
    }
    return NULL;
}

// The first one to get it after its owner's end repairs what it guards.
static void *lock_and_leave(void *unused) {
    int error = pthread_mutex_lock(mutex);
    if (error == EOWNERDEAD)
        pthread_mutex_consistent(mutex);
    pthread_mutex_unlock(mutex);
    return (void *)(intptr_t)error;
}

static void ends_before(int is_repaired) {
    pthread_t owner;
    make(0);
    pthread_create(&owner, NULL, lock_and_end, NULL);
    pthread_join(owner, NULL);
    int error = pthread_mutex_lock(mutex);
    printf("ended before: %s", name(error));
    if (is_repaired)
        printf(", repaired: %s", name(pthread_mutex_consistent(mutex)));
    printf(", unlocked: %s", name(pthread_mutex_unlock(mutex)));
    printf(", again: %s\n", name(pthread_mutex_lock(mutex)));
}

static void ends_meanwhile(void) {
    pthread_t owner, waiters[WAITERS];
    make(0);
    pthread_barrier_init(&barrier, NULL, 2);
    pthread_create(&owner, NULL, lock_and_end, &barrier);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < WAITERS; i++)
        pthread_create(&waiters[i], NULL, lock_and_leave, NULL);
    pthread_join(owner, NULL);
    int dead = 0, well = 0;
    for (int i = 0; i < WAITERS; i++) {
        void *error;
        pthread_join(waiters[i], &error);
        dead += (intptr_t)error == EOWNERDEAD, well += error == NULL;
    }
    printf("ended meanwhile: %d, then %d\n", dead, well);
}

static void process_ends(int waits) {
    make(1);
    int ready[2];
    if (pipe(ready))
        exit(1);
    pid_t child = fork();
    if (child == 0) {
        pthread_mutex_lock(mutex);
        if (write(ready[1], "", 1) != 1)
            _exit(1);
        if (waits)
            usleep(50000);
        _exit(0);
    }
    char byte;
    if (read(ready[0], &byte, 1) != 1 || (!waits && waitpid(child, NULL, 0) != child))
        exit(1);
    int error = pthread_mutex_lock(mutex);
    printf("process ended: %s", name(error));
    printf(", repaired: %s", name(pthread_mutex_consistent(mutex)));
    printf(", unlocked: %s\n", name(pthread_mutex_unlock(mutex)));
    if (waits)
        waitpid(child, NULL, 0);
}

int main(void) {
    mutex = mmap(NULL, sizeof *mutex, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ends_before(1);
    ends_before(0);
    ends_meanwhile();
    process_ends(0);
    process_ends(1);
    return 0;
}
