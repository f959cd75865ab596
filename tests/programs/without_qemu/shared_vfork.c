// vfork and posix_spawn: the child's memory is the parent's until it executes a program or ends.
// link: -pthread
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static char *own_name;
static volatile int global, initialised = 5;
static volatile unsigned char table[20000];

static const char *name(int error) {
    return error ? strerrorname_np(error) : "0";
}

static int status_of(pid_t pid) {
    int status;
    if (waitpid(pid, &status, 0) != pid)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void spawn(const char *what, const char *path, const char *argument) {
    char *arguments[] = {(char *)path, (char *)argument, NULL};
    pid_t pid = -7;
    int error = posix_spawn(&pid, path, NULL, NULL, arguments, environ);
    printf("%s: %s", what, name(error));
    if (error == 0)
        printf(", ended with %d", status_of(pid));
    printf("\n");
}

static void spawn_with_actions(void) {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 5, "/no/such/file", O_RDONLY, 0);
    char *arguments[] = {own_name, "8", NULL};
    pid_t pid;
    printf("file action: %s\n", name(posix_spawn(&pid, own_name, &actions, NULL, arguments, environ)));
    posix_spawn_file_actions_destroy(&actions);
}

static void writes(volatile int *heap, volatile int *shared) {
    volatile int local = 1;
    pid_t pid = vfork();
    if (pid == 0) {
        local = 2, global = 3, initialised += 1, *heap = 4, *shared = 5;
        for (unsigned i = 0; i < sizeof table; i += 1000)
            table[i] = i / 1000 + 1;
        _exit(9);
    }
    int sum = 0;
    for (unsigned i = 0; i < sizeof table; i++)
        sum += table[i];
    printf("vfork: %d %d %d %d %d %d", local, global, initialised, *heap, *shared, sum);
    printf(", ended with %d\n", status_of(pid));
}

// Each kind of store is the first one to its page.

static _Alignas(4096) char pages[10 * 4096];

static void *page(int number) {
    return pages + 4096 * number;
}

static void stores(void) {
    pid_t pid = vfork();
    if (pid == 0) {
        atomic_fetch_add((_Atomic int *)page(0), 3);
        int expected = 0;
        atomic_compare_exchange_strong((_Atomic int *)page(1), &expected, 4);
        atomic_exchange((_Atomic int *)page(2), 5);
        *(volatile int *)page(3) = 6;
        *(volatile double *)page(4) = 7;
        *(volatile float *)page(5) = 8;
        volatile unsigned long *misaligned = (unsigned long *)(pages + 4096 * 7 - 4); // in two pages
        *misaligned = 0x0908070605040302;
        _exit(0);
    }
    int end = status_of(pid);
    for (int i = 0; i < 4; i++)
        printf(i ? " %d" : "stores: %d", *(int *)page(i));
    printf(" %g %g", *(double *)page(4), *(float *)page(5));
    for (int i = -4; i < 4; i++)
        printf(" %d", pages[4096 * 7 + i]);
    printf(", ended with %d\n", end);
}

static void executes(void) {
    pid_t pid = vfork();
    if (pid == 0) {
        global = 1;
        execl("/no/such/program", "program", NULL);
        global += errno == ENOENT ? 10 : 20;
        execl(own_name, own_name, "11", NULL);
        _exit(1);
    }
    printf("executed: %d, ended with %d\n", global, status_of(pid));
}

// The kernel writes, too.
static void calls(void) {
    static char buffer[16];
    static struct timespec now;
    static int status, pipes[2];
    pid_t pid = vfork();
    if (pid == 0) {
        if (pipe(pipes) != 0 || write(pipes[1], "by the kernel", 14) != 14 || read(pipes[0], buffer, 16) != 14)
            _exit(1);
        clock_gettime(CLOCK_MONOTONIC, &now);
        pid_t below = fork(); // whose writes are its own
        if (below == 0) {
            buffer[0] = 'B';
            _exit(12);
        }
        waitpid(below, &status, 0);
        _exit(0);
    }
    printf("calls: %s, %d, %d", buffer, now.tv_sec + now.tv_nsec > 0, WEXITSTATUS(status));
    printf(", ended with %d\n", status_of(pid));
}

static void nested(void) {
    pid_t outer = vfork();
    if (outer == 0) {
        pid_t inner = vfork();
        if (inner == 0) {
            global = 20;
            _exit(1);
        }
        global += status_of(inner);
        _exit(2);
    }
    printf("nested: %d, ended with %d\n", global, status_of(outer));
}

static void is_killed(void) {
    pid_t pid = vfork();
    if (pid == 0) {
        global = 30;
        signal(SIGTERM, SIG_DFL);
        raise(SIGTERM);
    }
    printf("killed: %d, ended with %d\n", global, status_of(pid));
}

// Hot code in parent and child, and another thread of the parent that writes next to what children write.

static volatile unsigned long words[2];
static atomic_int stopped, begun;

static void *count(void *unused) {
    while (!stopped) {
        words[0]++;
        begun = 1;
    }
    return unused;
}

static unsigned long __attribute__((noinline)) work(unsigned long value) {
    for (int i = 0; i < 3000; i++)
        value = value * 6364136223846793005 + i;
    return value;
}

static void with_threads(void) {
    pthread_t thread;
    unsigned long expected = 1;
    words[1] = 1;
    pthread_create(&thread, NULL, count, NULL);
    while (!begun)
        sched_yield();
    int errors = 0;
    for (int i = 0; i < 5; i++) {
        unsigned long before = words[0];
        pid_t pid = vfork();
        if (pid == 0) {
            words[1] = work(words[1]);
            _exit(0);
        }
        expected = work(expected);
        errors += words[1] != expected || words[0] < before || status_of(pid) != 0;
    }
    stopped = 1;
    pthread_join(thread, NULL);
    printf("with threads: %d\n", errors);
}

static void *spawn_from_thread(void *unused) {
    spawn("from a thread: program", own_name, "13");
    spawn("from a thread: missing", "/no/such/program", "1");
    return unused;
}

int main(int count, char **arguments) {
    if (count > 1)
        return atoi(arguments[1]);
    own_name = arguments[0];
    setvbuf(stdout, NULL, _IOLBF, 0);
    spawn("program", own_name, "7");
    spawn("missing", "/no/such/program", "1");
    spawn("folder", "/", "1");
    spawn("no program", "/dev/null", "1");
    spawn_with_actions();
    volatile int *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    writes(calloc(1, sizeof(int)), shared);
    stores();
    executes();
    calls();
    nested();
    is_killed();
    with_threads();
    pthread_t thread;
    pthread_create(&thread, NULL, spawn_from_thread, NULL);
    pthread_join(thread, NULL);
    spawn("program", own_name, "7");
    return 0;
}
