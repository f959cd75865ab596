// A program on the musl C library: threads with locks and variables of their own, formatting, regular expressions, fork.
// `static` and `dynamic` next to it were made from it with Debian's riscv64 packages musl and musl-dev (1.2.5-3):
// compiled with -O2 -nostdinc -isystem .../include/riscv64-linux-musl -fno-stack-protector, linked with crt1.o (Scrt1.o
// and -pie -dynamic-linker /lib/ld-musl-riscv64.so.1), crti.o, libc.a (-L.../lib/riscv64-linux-musl -lc: libc.so has no
// name of its own, and given by its path it would be looked for there), libgcc and crtn.o, and stripped.
#include <math.h>
#include <pthread.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static long total;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local long mine;

static void *work(void *step) {
    for (int i = 0; i < 1000; i++) {
        pthread_mutex_lock(&lock);
        total += (long)step;
        pthread_mutex_unlock(&lock);
        mine++;
    }
    return (void *)mine;
}

int main(int argc, char **argv) {
    pthread_t threads[4];
    long sum = 0;
    for (long i = 0; i < 4; i++)
        pthread_create(&threads[i], 0, work, (void *)(i + 1));
    for (int i = 0; i < 4; i++) {
        void *result;
        pthread_join(threads[i], &result);
        sum += (long)result;
    }
    printf("%ld %ld %.17g %d\n", total, sum, sin(1.0) + exp(0.5), argc);

    regex_t pattern;
    regmatch_t found[2];
    regcomp(&pattern, "^a(b+)c$", REG_EXTENDED);
    int failed = regexec(&pattern, "abbbc", 2, found, 0);
    printf("%d %d\n", failed, (int)found[1].rm_eo);

    char *text = 0;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    fprintf(stream, "%08x|%-6s|%+d|%s", 255, "ab", 7, argv[argc - 1]);
    fclose(stream);
    puts(text);
    fflush(stdout);

    int status;
    pid_t child = fork();
    if (!child)
        _exit(7);
    waitpid(child, &status, 0);
    printf("%d\n", WEXITSTATUS(status));
    return 3;
}
