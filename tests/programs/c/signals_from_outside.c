// Signals that other processes, timers and the kernel send: into loops, into calls that wait, queued, held back, stopping.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t seen, last_code, last_value, reaped, bad_status;
static volatile pid_t last_pid;

static void note(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    seen++;
    last_code = info->si_code;
    last_pid = info->si_pid;
    last_value = info->si_value.sival_int;
}

static void reap(int number) {
    int status, before = errno;
    (void)number;
    while (waitpid(-1, &status, WNOHANG) > 0) {
        reaped++;
        bad_status += !WIFEXITED(status) || WEXITSTATUS(status) != 3;
    }
    errno = before;
}

static void install(int number, void (*handler)(int, siginfo_t *, void *), int flags) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | flags;
    sigaction(number, &action, NULL);
}

static sigset_t set_of(int number) {
    sigset_t set;
    sigemptyset(&set);
    if (number)
        sigaddset(&set, number);
    return set;
}

static void hold(int number, sigset_t *before) {
    sigset_t set = set_of(number);
    sigprocmask(SIG_BLOCK, &set, before);
}

static void pause_for(long nanoseconds) {
    struct timespec left = {0, nanoseconds};
    while (nanosleep(&left, &left) < 0 && errno == EINTR) {
    }
}

static uint64_t churn(uint64_t rounds) {
    uint64_t a = 1, b = 2, c = 3, d = 4, e = 5, f = 6;
    double g = 1;
    for (uint64_t i = 0; i < rounds; i++) {
        a = a * 6364136223846793005u + b;
        b ^= a >> 13, c += b << 7, d = (d ^ c) * 31, e += d ^ f, f = (f << 5 | f >> 59) + e;
        g = g * 0.5 + (double)(f & 255);
    }
    return a ^ b ^ c ^ d ^ e ^ f ^ (uint64_t)(g * 1048576);
}

// Registers survive handlers that come at any instruction of a loop.
static void loops(void) {
    enum { ROUNDS = 4000 };
    uint64_t expected = churn(ROUNDS), wrong = 0;
    struct itimerval every = {{0, 500}, {0, 500}}, never = {{0, 0}, {0, 0}};
    install(SIGALRM, note, 0);
    seen = 0;
    setitimer(ITIMER_REAL, &every, NULL);
    for (int i = 0; i < 4 || seen < 20; i++)
        wrong += churn(ROUNDS) != expected;
    setitimer(ITIMER_REAL, &never, NULL);
    printf("loops: %d wrong, code %d\n", (int)wrong, last_code);
}

// A loop that only a signal ends.
static void endless(void) {
    install(SIGUSR1, note, 0);
    seen = 0;
    pid_t parent = getpid(), child = fork();
    if (!child) {
        pause_for(2000000);
        kill(parent, SIGUSR1);
        _exit(0);
    }
    while (!seen) {
    }
    printf("endless: code %d from child %d\n", last_code, last_pid == child);
    waitpid(child, NULL, 0);
}

// Two processes take turns, each waiting for the other's signal with an atomic change of the mask.
static void turns(void) {
    enum { ROUNDS = 30 };
    sigset_t before, none = set_of(0);
    install(SIGUSR1, note, 0);
    hold(SIGUSR1, &before);
    seen = 0;
    pid_t parent = getpid(), child = fork();
    pid_t other = child ? child : parent;
    for (int i = 0; i < ROUNDS; i++) {
        if (child)
            kill(other, SIGUSR1);
        while (seen <= i)
            sigsuspend(&none);
        if (!child)
            kill(other, SIGUSR1);
    }
    if (!child)
        _exit(seen == ROUNDS ? 0 : 1);
    int status;
    waitpid(child, &status, 0);
    printf("turns: %d and %d\n", seen, WEXITSTATUS(status));
    sigprocmask(SIG_SETMASK, &before, NULL);
}

// Real-time signals are queued, in order, with their values; others are not.
static void queue(void) {
    enum { MOST = 40 };
    sigset_t before, wanted = set_of(SIGRTMIN + 1);
    struct timespec long_enough = {20, 0}, soon = {0, 1000000};
    hold(SIGRTMIN + 1, &before);
    pid_t parent = getpid(), child = fork();
    if (!child) {
        for (int i = 0; i < MOST; i++)
            sigqueue(parent, SIGRTMIN + 1, (union sigval){.sival_int = i});
        _exit(0);
    }
    int in_order = 0;
    for (int i = 0; i < MOST; i++) {
        siginfo_t info;
        int number = sigtimedwait(&wanted, &info, &long_enough);
        in_order += number == SIGRTMIN + 1 && info.si_code == SI_QUEUE && info.si_pid == child && info.si_value.sival_int == i;
    }
    waitpid(child, NULL, 0);
    int none = sigtimedwait(&wanted, NULL, &soon);
    printf("queue: %d in order, then %d %d\n", in_order, none, errno == EAGAIN);
    sigprocmask(SIG_SETMASK, &before, NULL);
}

// What waits ends with EINTR, or starts again.
static void interrupted(void) {
    int ends[2];
    char byte = 0;
    if (pipe(ends))
        exit(2);
    for (int restart = 0; restart < 2; restart++) {
        install(SIGUSR1, note, restart ? SA_RESTART : 0);
        seen = 0;
        pid_t parent = getpid(), child = fork();
        if (!child) {
            for (int i = 0; !restart || i < 5; i++) {
                pause_for(3000000);
                kill(parent, SIGUSR1);
            }
            if (write(ends[1], "x", 1) != 1)
                _exit(1);
            _exit(0);
        }
        ssize_t got = read(ends[0], &byte, 1);
        printf("read: %d %d, seen %d\n", (int)got, got < 0 ? errno == EINTR : byte, seen > 0);
        if (!restart)
            kill(child, SIGKILL);
        int status;
        while (waitpid(child, &status, 0) < 0) {
        }
    }
    install(SIGALRM, note, SA_RESTART);
    struct itimerval often = {{0, 5000}, {0, 5000}}, never = {{0, 0}, {0, 0}};  // so that one comes while it waits
    struct timespec wait = {5, 0}, left = {0, 0};
    setitimer(ITIMER_REAL, &often, NULL);
    int result = nanosleep(&wait, &left);
    printf("nanosleep: %d %d, left %d\n", result, errno == EINTR, left.tv_sec == 4);
    setitimer(ITIMER_REAL, &often, NULL);
    result = poll(NULL, 0, 5000);
    printf("poll: %d %d\n", result, errno == EINTR);
    sigset_t before, none = set_of(0);
    hold(SIGALRM, &before);
    setitimer(ITIMER_REAL, &often, NULL);
    result = pselect(0, NULL, NULL, NULL, &wait, &none);
    printf("pselect: %d %d\n", result, errno == EINTR);
    setitimer(ITIMER_REAL, &often, NULL);
    result = ppoll(NULL, 0, &wait, &none);
    printf("ppoll: %d %d\n", result, errno == EINTR);
    sigset_t now;
    sigprocmask(SIG_SETMASK, &before, &now);
    printf("mask: %d\n", sigismember(&now, SIGALRM));
    setitimer(ITIMER_REAL, &often, NULL);
    result = pause();
    printf("pause: %d %d\n", result, errno == EINTR);
    setitimer(ITIMER_REAL, &never, NULL);
    close(ends[0]), close(ends[1]);
}

// Every child that ends is noticed.
static void children(void) {
    enum { MOST = 8 };
    sigset_t before, none = set_of(0);
    struct sigaction action = {.sa_handler = reap, .sa_flags = SA_RESTART};
    sigaction(SIGCHLD, &action, NULL);
    hold(SIGCHLD, &before);
    for (int i = 0; i < MOST; i++)
        if (!fork())
            _exit(3);
    while (reaped < MOST)
        sigsuspend(&none);
    printf("children: %d, bad %d\n", reaped, bad_status);
    action.sa_handler = SIG_DFL;
    sigaction(SIGCHLD, &action, NULL);
    sigprocmask(SIG_SETMASK, &before, NULL);
}

// What parents see of children that signals end, stop and continue.
static void fates(void) {
    int status;
    static const int fatal[] = {SIGTERM, SIGINT, SIGKILL, SIGUSR2, SIGALRM, SIGPIPE};
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++) {
        sigset_t before, none = set_of(0);
        hold(fatal[i], &before);
        pid_t child = fork();
        if (!child) {
            signal(fatal[i], SIG_DFL);
            for (;;)
                sigsuspend(&none);
        }
        kill(child, fatal[i]);
        waitpid(child, &status, 0);
        sigprocmask(SIG_SETMASK, &before, NULL);
        printf("fate: %d %d\n", WIFSIGNALED(status), WTERMSIG(status));
    }
    pid_t child = fork();
    if (!child) {
        signal(SIGTERM, SIG_IGN);
        raise(SIGSTOP);
        _exit(5);
    }
    waitpid(child, &status, WUNTRACED);
    printf("stopped: %d %d\n", WIFSTOPPED(status), WSTOPSIG(status));
    kill(child, SIGTERM);
    kill(child, SIGCONT);
    waitpid(child, &status, WCONTINUED);
    printf("continued: %d\n", WIFCONTINUED(status) != 0 || WIFEXITED(status));
    if (WIFCONTINUED(status))
        waitpid(child, &status, 0);
    printf("exited: %d %d\n", WIFEXITED(status), WEXITSTATUS(status));
}

// Held back, looked at, read from a descriptor.
static void held(void) {
    sigset_t before, pending, wanted = set_of(SIGUSR2);
    hold(SIGUSR2, &before);
    int fd = signalfd(-1, &wanted, SFD_CLOEXEC);
    pid_t parent = getpid(), child = fork();
    if (!child) {
        kill(parent, SIGUSR2);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    sigpending(&pending);
    struct signalfd_siginfo info;
    ssize_t got = read(fd, &info, sizeof info);
    printf("held: %d, read %d: %d from child %d\n", sigismember(&pending, SIGUSR2), (int)got, info.ssi_signo == SIGUSR2,
           info.ssi_pid == (uint32_t)child);
    sigpending(&pending);
    printf("left: %d\n", sigismember(&pending, SIGUSR2));
    close(fd);
    sigprocmask(SIG_SETMASK, &before, NULL);
}

// A timer of POSIX that sends a signal with a value.
static void timer(void) {
    struct sigevent event;
    memset(&event, 0, sizeof event);
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGRTMIN + 2;
    event.sigev_value.sival_int = 77;
    timer_t id;
    install(SIGRTMIN + 2, note, 0);
    seen = 0;
    if (timer_create(CLOCK_MONOTONIC, &event, &id))
        exit(2);
    struct itimerspec every = {{0, 1000000}, {0, 1000000}}, found;
    timer_settime(id, 0, &every, NULL);
    while (seen < 5)
        pause_for(500000);
    timer_gettime(id, &found);
    printf("timer: code %d value %d interval %ld overrun %d\n", last_code, last_value, found.it_interval.tv_nsec,
           timer_getoverrun(id) >= 0);
    printf("deleted: %d\n", timer_delete(id));
}

// So many system calls that native code makes them.
static void make_them_hot(void) {
    int fd = open("/dev/null", O_WRONLY);
    for (int i = 0; i < 3000; i++)
        if (write(fd, "x", 1) != 1)
            exit(2);
    close(fd);
}

int main(int count, char **arguments) {
    (void)arguments;
    if (count > 1)
        make_them_hot();
    setvbuf(stdout, NULL, _IOLBF, 0);
    loops();
    endless();
    turns();
    queue();
    interrupted();
    children();
    fates();
    held();
    timer();
    return 0;
}
