// POSIX threads: create and join, mutex, condition variable, thread-local storage, atomic counter.
// link: -pthread
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

enum { WORKERS = 4, ROUNDS = 500, ITEMS = 200 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ready = PTHREAD_COND_INITIALIZER, space = PTHREAD_COND_INITIALIZER;
static long guarded, queue[8], queued, head;
static atomic_long free_running;
static _Thread_local long own;

static void *worker(void *argument) {
    long id = (long)argument;
    for (int i = 0; i < ROUNDS; i++) {
        own += id;
        atomic_fetch_add(&free_running, 1);
        pthread_mutex_lock(&lock);
        guarded += id;
        pthread_mutex_unlock(&lock);
    }
    return (void *)own;
}

static void *producer(void *argument) {
    (void)argument;
    for (long i = 1; i <= ITEMS; i++) {
        pthread_mutex_lock(&lock);
        while (queued == 8)
            pthread_cond_wait(&space, &lock);
        queue[(head + queued++) % 8] = i;
        pthread_cond_signal(&ready);
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

static long consume(void) {
    long sum = 0;
    for (int i = 0; i < ITEMS; i++) {
        pthread_mutex_lock(&lock);
        while (queued == 0)
            pthread_cond_wait(&ready, &lock);
        sum += queue[head];
        head = (head + 1) % 8;
        queued--;
        pthread_cond_signal(&space);
        pthread_mutex_unlock(&lock);
    }
    return sum;
}

int main(void) {
    pthread_t threads[WORKERS];
    long results = 0;
    for (long i = 0; i < WORKERS; i++)
        if (pthread_create(&threads[i], NULL, worker, (void *)(i + 1)) != 0)
            return 1;
    for (int i = 0; i < WORKERS; i++) {
        void *result;
        pthread_join(threads[i], &result);
        results += (long)result;
    }
    printf("guarded %ld free %ld results %ld own %ld\n", guarded, (long)free_running, results, own);
    if (pthread_create(&threads[0], NULL, producer, NULL) != 0)
        return 1;
    printf("consumed %ld\n", consume());
    pthread_join(threads[0], NULL);
    return 0;
}
