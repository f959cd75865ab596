// System calls with vectors and descriptors: writev, readv, pipe, dup2, poll, fcntl, partial reads, errors.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

static void vectors(int out, int in) {
    struct iovec parts[3] = {{"alpha ", 6}, {"", 0}, {"beta gamma", 10}};
    printf("writev %zd\n", writev(out, parts, 3));
    char first[4] = "", second[8] = "", third[32] = "";
    struct iovec into[3] = {{first, 3}, {second, 7}, {third, 31}};
    ssize_t got = readv(in, into, 3);
    printf("readv %zd '%s' '%s' '%s'\n", got, first, second, third);
}

static void polling(int out, int in) {
    struct pollfd wait[2] = {{in, POLLIN, 0}, {out, POLLOUT, 0}};
    printf("poll %d %x %x\n", poll(wait, 2, 0), wait[0].revents, wait[1].revents);
    ssize_t sent = write(out, "0123456789", 10);
    int waiting = 0;
    int code = ioctl(in, FIONREAD, &waiting);
    printf("sent %zd ioctl %d waiting %d poll %d %x\n", sent, code, waiting, poll(wait, 1, 1000), wait[0].revents);
    char buffer[32];
    for (ssize_t got; (got = read(in, buffer, 4)) > 0;) {
        printf("read %zd %.*s\n", got, (int)got, buffer);
        if (got < 4)
            break;
    }
}

int main(void) {
    int ends[2];
    printf("pipe %d\n", pipe(ends));
    vectors(ends[1], ends[0]);
    polling(ends[1], ends[0]);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    char byte;
    ssize_t got = read(ends[0], &byte, 1);
    printf("empty %zd again %d flags %d\n", got, errno == EAGAIN, (fcntl(ends[0], F_GETFL) & O_NONBLOCK) != 0);
    int high = fcntl(ends[1], F_DUPFD_CLOEXEC, 50);
    printf("high %d cloexec %d\n", high >= 50, fcntl(high, F_GETFD) == FD_CLOEXEC);
    printf("dup2 %d\n", dup2(ends[1], 77));
    close(ends[1]);
    close(high);
    printf("through %zd\n", write(77, "x", 1));
    close(77);
    got = read(ends[0], &byte, 1);
    printf("last %zd %c end %zd\n", got, byte, read(ends[0], &byte, 1));
    got = write(77, "x", 1);
    printf("closed %zd %d\n", got, errno == EBADF);
    fflush(stdout);
    struct iovec lines[2] = {{"direct ", 7}, {"output\n", 7}};
    return (int)writev(STDOUT_FILENO, lines, 2);
}
