// Processes: fork, pipes between parent and child, exit status and death by signal as wait reports them.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int child_sum(int in, int out) {
    int value, sum = 0;
    while (read(in, &value, sizeof value) == (ssize_t)sizeof value)
        sum += value;
    return write(out, &sum, sizeof sum) == (ssize_t)sizeof sum ? 7 : 8;
}

static void report(const char *what, int status) {
    printf("%s exited %d code %d signalled %d signal %d\n", what, WIFEXITED(status), WIFEXITED(status) ? WEXITSTATUS(status) : -1,
           WIFSIGNALED(status), WIFSIGNALED(status) ? WTERMSIG(status) : -1);
}

int main(void) {
    int down[2], up[2], status = 0, private = 1;
    if (pipe(down) != 0 || pipe(up) != 0)
        return 1;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        close(down[1]);
        close(up[0]);
        private = 99;
        _exit(child_sum(down[0], up[1]));
    }
    close(down[0]);
    close(up[1]);
    for (int i = 1; i <= 100; i++)
        if (write(down[1], &i, sizeof i) != (ssize_t)sizeof i)
            return 2;
    close(down[1]);
    int sum = 0;
    ssize_t got = read(up[0], &sum, sizeof sum);
    pid_t waited = waitpid(child, &status, 0);
    printf("got %zd sum %d same child %d private %d\n", got, sum, waited == child, private);
    report("summing child", status);
    fflush(stdout);
    child = fork();
    if (child == 0) {
        raise(SIGTERM);
        _exit(1);
    }
    printf("waited %d\n", waitpid(child, &status, 0) == child);
    report("killed child", status);
    printf("no more children %d\n", wait(&status) == -1);
    return 5;
}
