// Code that is made, changed and unmapped by some threads while others run code of the same pages.
// link: -pthread
// args: 30
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { MAKERS = 2, CALLERS = 2, PAGE = 4096 };

typedef long (*Function)(long);

static int rounds;
static atomic_int working = MAKERS;
static Function shared; // in the first half of a page whose second half is written all the time
static char *page;

// li a5, number (12 bits); add a0, a0, a5; ret
static void emit(void *at, int number) {
    uint32_t code[] = {(uint32_t)number << 20 | 0x793, 0x00f50533, 0x00008067};
    memcpy(at, code, sizeof code);
    __builtin___clear_cache(at, (char *)at + sizeof code);
}

static void check(int ok, const char *what) {
    if (!ok) {
        printf("failed: %s\n", what);
        exit(1);
    }
}

static void *make(void *argument) {
    long id = (long)argument, sum = 0;
    for (int round = 0; round < rounds; round++) {
        int number = round % 1000 + 1;
        emit(page + PAGE / 2 + id * 64, number);
        sum += ((Function)(page + PAGE / 2 + id * 64))(round) - round - number;
        char *own = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        check(own != MAP_FAILED, "mmap");
        emit(own, number);
        check(mprotect(own, PAGE, PROT_READ | PROT_EXEC) == 0, "mprotect");
        for (int i = 0; i < 100; i++)
            sum += ((Function)own)(i) - i - number;
        check(munmap(own, PAGE) == 0, "munmap");
    }
    working--;
    return (void *)sum;
}

static void *call(void *argument) {
    long sum = 0, expected = 0;
    (void)argument;
    while (working)
        for (int i = 0; i < 1000; i++) {
            sum += shared(i);
            expected += i + 5;
        }
    return (void *)(sum - expected);
}

int main(int argc, char **argv) {
    pthread_t threads[MAKERS + CALLERS];
    rounds = argc > 1 ? atoi(argv[1]) : 1;
    page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(page != MAP_FAILED, "mmap");
    emit(page, 5);
    shared = (Function)page;
    for (long i = 0; i < MAKERS + CALLERS; i++)
        check(pthread_create(&threads[i], NULL, i < MAKERS ? make : call, (void *)i) == 0, "pthread_create");
    for (int i = 0; i < MAKERS + CALLERS; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        check(wrong == NULL, "what code computed");
    }
    puts("all right");
    return 0;
}
