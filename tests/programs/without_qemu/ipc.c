// Semaphores, messages and shared memory of System V, and message queues of POSIX.
// link: -lrt
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

union semun {
    int val;
    struct semid_ds *buf;
    unsigned short *array;
};

static const char *name(long result) {
    return result < 0 ? strerrorname_np(errno) : "0";
}

static int change(int set, int number, int by, int flags) {
    struct sembuf operation = {number, by, flags};
    return semop(set, &operation, 1);
}

static void semaphores(void) {
    int set = semget(IPC_PRIVATE, 3, 0600);
    unsigned short values[3] = {1, 2, 3}, found[3];
    union semun argument = {.array = values};
    printf("set: %s", name(semctl(set, 0, SETALL, argument)));
    argument.array = found;
    semctl(set, 0, GETALL, argument);
    printf(" %d %d %d", found[0], found[1], found[2]);
    argument.val = 7;
    semctl(set, 1, SETVAL, argument);
    printf(" %d", semctl(set, 1, GETVAL));
    struct semid_ds status;
    argument.buf = &status;
    semctl(set, 0, IPC_STAT, argument);
    printf(" of %lu, mode %o, own %d, changed %d\n", status.sem_nsems, status.sem_perm.mode,
           status.sem_perm.uid == geteuid(), status.sem_ctime > 1000000000);
    status.sem_perm.mode = 0640;
    semctl(set, 0, IPC_SET, argument);
    status.sem_perm.mode = 0;
    semctl(set, 0, IPC_STAT, argument);
    printf("mode: %o\n", status.sem_perm.mode);
    printf("no wait: %s\n", name(change(set, 0, -2, IPC_NOWAIT)));
    struct sembuf operation = {0, -2, 0};
    struct timespec limit = {0, 10000000};
    printf("in time: %s\n", name(semtimedop(set, &operation, 1, &limit)));
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        usleep(20000);
        _exit(change(set, 0, 1, SEM_UNDO) != 0 || change(set, 0, 5, 0) != 0);
    }
    printf("waited: %s\n", name(change(set, 0, -7, 0)));
    waitpid(child, NULL, 0);
    printf("left: %d\n", semctl(set, 0, GETVAL));
    printf("removed: %s", name(semctl(set, 0, IPC_RMID)));
    printf(", then %s\n", name(change(set, 0, 1, 0)));
}

struct text {
    long kind;
    char text[100];
};

static void note(int number) {
    (void)number;
}

static void messages(void) {
    int queue = msgget(IPC_PRIVATE, 0600);
    struct text message = {2, "second"}, found;
    printf("sent: %s", name(msgsnd(queue, &message, 7, 0)));
    message.kind = 1, strcpy(message.text, "first");
    printf(" %s", name(msgsnd(queue, &message, 6, 0)));
    struct msqid_ds status;
    msgctl(queue, IPC_STAT, &status);
    printf(", there: %lu, bytes %lu\n", status.msg_qnum, status.__msg_cbytes);
    ssize_t size = msgrcv(queue, &found, sizeof found.text, 1, 0);
    printf("of kind 1: %zd %ld %s\n", size, found.kind, found.text);
    printf("too long: %s\n", name(msgrcv(queue, &found, 3, 0, 0)));
    size = msgrcv(queue, &found, 3, 0, MSG_NOERROR);
    printf("cut: %zd %ld %.3s\n", size, found.kind, found.text);
    printf("none: %s\n", name(msgrcv(queue, &found, sizeof found.text, 0, IPC_NOWAIT)));
    struct sigaction action = {.sa_handler = note, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, NULL);
    ualarm(10000, 10000); // the first may come too early
    printf("interrupted: %s\n", name(msgrcv(queue, &found, sizeof found.text, 0, 0)));
    ualarm(0, 0);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        usleep(10000);
        message.kind = 9, strcpy(message.text, "from a child");
        _exit(msgsnd(queue, &message, 13, 0) != 0);
    }
    size = msgrcv(queue, &found, sizeof found.text, 0, 0);
    printf("received: %zd %ld %s\n", size, found.kind, found.text);
    waitpid(child, NULL, 0);
    message.kind = 0;
    printf("no kind: %s\n", name(msgsnd(queue, &message, 1, 0)));
    printf("removed: %s\n", name(msgctl(queue, IPC_RMID, NULL)));
}

static void memory(void) {
    int segment = shmget(IPC_PRIVATE, 10000, 0600);
    int *first = shmat(segment, NULL, 0), *second = shmat(segment, NULL, SHM_RDONLY);
    struct shmid_ds status;
    shmctl(segment, IPC_STAT, &status);
    printf("segment: %zu bytes, %lu times, creator %d\n", status.shm_segsz, status.shm_nattch, status.shm_cpid == getpid());
    first[1000] = 42;
    printf("same: %d, apart: %d\n", second[1000], first != second);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        first[1000] = 43;
        _exit(shmdt(first) != 0);
    }
    waitpid(child, NULL, 0);
    printf("of the child: %d\n", second[1000]);
    printf("detached: %s", name(shmdt(second)));
    printf(", then %s\n", name(shmdt(second)));
    char *place = (char *)second;
    second = shmat(segment, place, 0);
    printf("in place: %d %d\n", (char *)second == place, second[1000]);
    printf("taken: %s\n", name((long)shmat(segment, place, 0)));
    printf("removed: %s\n", name(shmctl(segment, IPC_RMID, NULL)));
    printf("still there: %d\n", first[1000]);
    shmdt(first), shmdt(second);
    printf("gone: %s\n", name((long)shmat(segment, NULL, 0)));
}

static void queues(void) {
    char path[64], text[64];
    snprintf(path, sizeof path, "/ipc-of-a-test-%d", getpid());
    struct mq_attr attributes = {.mq_maxmsg = 4, .mq_msgsize = 32};
    mqd_t queue = mq_open(path, O_RDWR | O_CREAT | O_EXCL, 0600, &attributes);
    printf("queue: %s, again: %s\n", name(queue), name(mq_open(path, O_RDWR | O_CREAT | O_EXCL, 0600, &attributes)));
    printf("sent: %s", name(mq_send(queue, "low", 4, 1)));
    printf(" %s", name(mq_send(queue, "high", 5, 5)));
    printf(" %s\n", name(mq_send(queue, path, 60, 5)));
    mq_getattr(queue, &attributes);
    printf("holds %ld of %ld, each at most %ld\n", attributes.mq_curmsgs, attributes.mq_maxmsg, attributes.mq_msgsize);
    for (int i = 0; i < 2; i++) {
        unsigned priority;
        ssize_t size = mq_receive(queue, text, sizeof text, &priority);
        printf("received: %zd %u %s\n", size, priority, text);
    }
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    printf("in time: %s\n", name(mq_timedreceive(queue, text, sizeof text, NULL, &limit)));
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 99};
    sigset_t set;
    siginfo_t info;
    sigemptyset(&set), sigaddset(&set, SIGUSR1), sigprocmask(SIG_BLOCK, &set, NULL);
    printf("notify: %s\n", name(mq_notify(queue, &event)));
    mq_send(queue, "new", 4, 0);
    sigwaitinfo(&set, &info);
    printf("told: %d %d\n", info.si_code == SI_MESGQ, info.si_value.sival_int);
    attributes.mq_flags = O_NONBLOCK;
    mq_setattr(queue, &attributes, NULL);
    mq_receive(queue, text, sizeof text, NULL);
    printf("empty: %s\n", name(mq_receive(queue, text, sizeof text, NULL)));
    printf("unlinked: %s", name(mq_unlink(path)));
    printf(", then %s\n", name(mq_unlink(path)));
    mq_close(queue);
}

int main(void) {
    semaphores();
    messages();
    memory();
    queues();
    return 0;
}
