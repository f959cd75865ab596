// execve: what a process keeps when it runs another program, and what it does not.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static void handler(int signal) { (void)signal; }

static int is_open(const char *fd) { return fcntl(atoi(fd), F_GETFD) >= 0; }

static void second(char **argv) {
    sigset_t blocked, pending;
    struct sigaction usr1, usr2, pipe;
    struct itimerval timer;
    struct rlimit limit;
    int status;
    sigprocmask(SIG_BLOCK, 0, &blocked);
    sigpending(&pending);
    sigaction(SIGUSR1, 0, &usr1);
    sigaction(SIGUSR2, 0, &usr2);
    sigaction(SIGPIPE, 0, &pipe);
    getitimer(ITIMER_REAL, &timer);
    getrlimit(RLIMIT_NOFILE, &limit);
    printf("same process: %d\n", getpid() == atoi(argv[2]));
    printf("child: %d", wait(&status) == atoi(argv[3]));
    printf(" %d\n", WEXITSTATUS(status));
    printf("descriptors: %d %d\n", is_open(argv[4]), is_open(argv[5]));
    printf("blocked: %d %d, pending: %d\n", sigismember(&blocked, SIGHUP), sigismember(&blocked, SIGINT),
           sigismember(&pending, SIGHUP));
    printf("ignored: %d %d %d\n", usr1.sa_handler == SIG_IGN, usr2.sa_handler == SIG_IGN, pipe.sa_handler == SIG_IGN);
    printf("timer: %d, limit: %d, mask: %o\n", timer.it_value.tv_sec > 100, (int)limit.rlim_cur, umask(0));
    printf("arguments: %s, environment: %s\n", argv[0], getenv("GREETING"));
    fflush(stdout);
    signal(SIGUSR2, SIG_DFL);
    raise(SIGUSR2);
}

int main(int argc, char **argv) {
    char pid[16], child[16], kept[16], closed[16];
    if (argc > 1 && !strcmp(argv[1], "second"))
        second(argv);
    pid_t made = fork();
    if (!made)
        _exit(42);
    snprintf(pid, sizeof pid, "%d", getpid());
    snprintf(child, sizeof child, "%d", made);
    snprintf(kept, sizeof kept, "%d", open("/dev/null", O_RDONLY));
    snprintf(closed, sizeof closed, "%d", open("/dev/null", O_RDONLY | O_CLOEXEC));
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, 0);
    raise(SIGHUP);
    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, handler);
    signal(SIGPIPE, SIG_IGN);
    struct itimerval timer = {.it_value.tv_sec = 1000};
    setitimer(ITIMER_REAL, &timer, 0);
    struct rlimit limit = {100, 200};
    setrlimit(RLIMIT_NOFILE, &limit);
    umask(027);

    char *wanted[] = {"another name", "second", pid, child, kept, closed, 0};
    char *environment[] = {"GREETING=hello", 0};
    printf("%d %d", execve("/nowhere", wanted, environment), errno == ENOENT);
    printf(" %d %d\n", execve("/dev/null", wanted, environment), errno == EACCES);
    fflush(stdout);
    execve("/proc/self/exe", wanted, environment);
    return 1;
}
