// CLONE_PIDFD: descriptors of children, by clone and clone3, and what can be done with them.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

static const char *name(long result) {
    return result < 0 ? strerrorname_np(errno) : "0";
}

static int wait_for(int pidfd, int options) {
    siginfo_t info = {0};
    if (waitid(P_PIDFD, pidfd, &info, WEXITED | options) != 0)
        return -errno;
    return info.si_pid ? info.si_code * 1000 + info.si_status : 0;
}

static long by_clone(unsigned long flags, int *pidfd) {
    return syscall(SYS_clone, flags | SIGCHLD, 0, pidfd, 0, 0);
}

static long by_clone3(struct clone_args *arguments) {
    return syscall(SYS_clone3, arguments, CLONE_ARGS_SIZE_VER0);
}

int main(void) {
    int pidfd = -1, number = -1;
    pid_t pid = by_clone(CLONE_PIDFD, &pidfd);
    if (pid == 0)
        _exit(pidfd == -1 ? 7 : 1);
    printf("clone: %d, closed by exec: %d\n", pidfd, fcntl(pidfd, F_GETFD) & FD_CLOEXEC);
    struct pollfd entry = {pidfd, POLLIN, 0};
    printf("ended: %d\n", poll(&entry, 1, -1) == 1 && entry.revents == POLLIN);
    int waited = wait_for(pidfd, 0);
    printf("waited: %d, then %s\n", waited, strerrorname_np(-wait_for(pidfd, 0)) ?: "0");
    close(pidfd);

    struct clone_args arguments = {
        .flags = CLONE_PIDFD | CLONE_PARENT_SETTID,
        .pidfd = (uintptr_t)&pidfd,
        .parent_tid = (uintptr_t)&number,
        .exit_signal = SIGCHLD,
    };
    pid = by_clone3(&arguments);
    if (pid == 0)
        for (;;)
            pause();
    entry = (struct pollfd){pidfd, POLLIN, 0};
    printf("clone3: %d, own id: %d\n", pidfd, number == pid);
    printf("runs: %d %d\n", poll(&entry, 1, 0), wait_for(pidfd, WNOHANG));
    printf("signal: %s", name(syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, NULL, 0)));
    printf(", waited: %d\n", wait_for(pidfd, 0));
    printf("signal: %s\n", name(syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0)));
    close(pidfd);

    // A child that nobody can wait for has one, too.
    signal(SIGCHLD, SIG_IGN);
    pid = by_clone(CLONE_PIDFD | CLONE_VFORK, &pidfd);
    if (pid == 0)
        _exit(0);
    printf("ignored: %d, ", pidfd);
    entry = (struct pollfd){pidfd, POLLIN, 0};
    printf("ended: %d, ", poll(&entry, 1, -1) == 1);
    printf("waited: %s\n", strerrorname_np(-wait_for(pidfd, 0)) ?: "0");
    close(pidfd);
    signal(SIGCHLD, SIG_DFL);

    int pipes[2];
    if (pipe(pipes) != 0)
        return 1;
    pid = by_clone(CLONE_PIDFD, &pidfd);
    if (pid == 0) {
        int mine = open("/dev/zero", O_RDONLY);
        if (dup2(mine, 100) != 100 || write(pipes[1], "x", 1) != 1)
            _exit(1);
        pause();
    }
    char byte;
    if (read(pipes[0], &byte, 1) != 1)
        return 1;
    int theirs = syscall(SYS_pidfd_getfd, pidfd, 100, 0);
    ssize_t got = read(theirs, &byte, 1);
    printf("their file: %d %zd %d\n", theirs > pidfd, got, byte);
    printf("none: %s\n", name(syscall(SYS_pidfd_getfd, pidfd, 101, 0)));
    kill(pid, SIGKILL);
    printf("waited: %d\n", wait_for(pidfd, 0));

    printf("two answers in one place: %s\n", name(by_clone(CLONE_PIDFD | CLONE_PARENT_SETTID, &pidfd)));
    printf("nowhere: %s\n", name(by_clone(CLONE_PIDFD, (int *)8)));
    printf("no children: %s\n", name(wait(NULL)));
    return 0;
}
