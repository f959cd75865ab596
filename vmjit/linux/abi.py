"""The Linux system call interface as a riscv64 program sees it: call numbers, structure layouts, constants.

Numbers are those of asm-generic/unistd.h with riscv's own block at 244..259; layouts are the 64-bit asm-generic ones.
Where the asm-generic value equals the host's on every supported host (errno, signals, statx, termios, O_CREAT ...),
nothing is translated and nothing is listed here.
"""

import os
from struct import Struct

ELF_MACHINE = 243  # EM_RISCV
PLATFORM = b"riscv64"
KERNEL_RELEASE = b"6.12.0"
PATH_MAX = 4096
CLOCK_TICKS = 100

# Runs of consecutive numbers: the first number, then the names. A dot skips one number.
_RUNS = """
0 io_setup io_destroy io_submit io_cancel io_getevents
5 setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr
14 removexattr lremovexattr fremovexattr getcwd lookup_dcookie eventfd2 epoll_create1 epoll_ctl epoll_pwait
23 dup dup3 fcntl inotify_init1 inotify_add_watch inotify_rm_watch ioctl ioprio_set ioprio_get flock
33 mknodat mkdirat unlinkat symlinkat linkat . umount2 mount pivot_root nfsservctl
43 statfs fstatfs truncate ftruncate fallocate faccessat chdir fchdir chroot
52 fchmod fchmodat fchownat fchown openat close vhangup pipe2 quotactl getdents64 lseek
63 read write readv writev pread64 pwrite64 preadv pwritev sendfile pselect6 ppoll signalfd4
75 vmsplice splice tee readlinkat newfstatat fstat sync fsync fdatasync sync_file_range
85 timerfd_create timerfd_settime timerfd_gettime utimensat acct capget capset personality
93 exit exit_group waitid set_tid_address unshare futex set_robust_list get_robust_list
101 nanosleep getitimer setitimer kexec_load init_module delete_module
107 timer_create timer_gettime timer_getoverrun timer_settime timer_delete
112 clock_settime clock_gettime clock_getres clock_nanosleep syslog ptrace
118 sched_setparam sched_setscheduler sched_getscheduler sched_getparam sched_setaffinity sched_getaffinity
124 sched_yield sched_get_priority_max sched_get_priority_min sched_rr_get_interval restart_syscall
129 kill tkill tgkill sigaltstack rt_sigsuspend rt_sigaction rt_sigprocmask rt_sigpending rt_sigtimedwait
138 rt_sigqueueinfo rt_sigreturn setpriority getpriority reboot setregid setgid setreuid setuid
147 setresuid getresuid setresgid getresgid setfsuid setfsgid times setpgid getpgid getsid setsid
158 getgroups setgroups uname sethostname setdomainname getrlimit setrlimit getrusage umask prctl getcpu
169 gettimeofday settimeofday adjtimex getpid getppid getuid geteuid getgid getegid gettid sysinfo
180 mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr
186 msgget msgctl msgrcv msgsnd semget semctl semtimedop semop shmget shmctl shmat shmdt
198 socket socketpair bind listen accept connect getsockname getpeername sendto recvfrom
208 setsockopt getsockopt shutdown sendmsg recvmsg readahead brk munmap mremap add_key request_key keyctl
220 clone execve mmap fadvise64 swapon swapoff mprotect msync mlock munlock mlockall munlockall mincore madvise
234 remap_file_pages mbind get_mempolicy set_mempolicy migrate_pages move_pages
240 rt_tgsigqueueinfo perf_event_open accept4 recvmmsg
258 riscv_hwprobe riscv_flush_icache wait4 prlimit64 fanotify_init fanotify_mark name_to_handle_at open_by_handle_at
266 clock_adjtime syncfs setns sendmmsg process_vm_readv process_vm_writev kcmp finit_module
274 sched_setattr sched_getattr renameat2 seccomp getrandom memfd_create bpf execveat userfaultfd
283 membarrier mlock2 copy_file_range preadv2 pwritev2 pkey_mprotect pkey_alloc pkey_free
291 statx io_pgetevents rseq kexec_file_load
424 pidfd_send_signal io_uring_setup io_uring_enter io_uring_register open_tree move_mount fsopen fsconfig
432 fsmount fspick pidfd_open clone3 close_range openat2 pidfd_getfd faccessat2 process_madvise epoll_pwait2
442 mount_setattr quotactl_fd landlock_create_ruleset landlock_add_rule landlock_restrict_self memfd_secret
448 process_mrelease futex_waitv set_mempolicy_home_node cachestat fchmodat2 map_shadow_stack
454 futex_wake futex_wait futex_requeue statmount listmount lsm_get_self_attr lsm_set_self_attr lsm_list_modules
462 mseal setxattrat getxattrat listxattrat removexattrat open_tree_attr file_getattr file_setattr
"""


def _read_runs(runs: str) -> dict[str, int]:
    numbers = {}
    for line in runs.split("\n")[1:-1]:
        first, *names = line.split()
        numbers.update({name: number for number, name in enumerate(names, int(first)) if name != "."})
    return numbers


NUMBERS = _read_runs(_RUNS)
NAMES = {number: name for name, number in NUMBERS.items()}

INT = Struct("<i")
UINT = Struct("<I")
LONG = Struct("<q")
ULONG = Struct("<Q")
IOVEC = Struct("<QQ")
TIMESPEC = Struct("<qq")
TIMEVAL = TIMESPEC
TIMES = Struct("<4q")
# dev ino mode nlink uid gid rdev pad size blksize pad blocks, three times, two unused; 128 bytes, 144 on x86-64.
STAT = Struct("<QQIIIIQ8xqi4xqqQqQqQ8x")
SIGACTION = Struct("<QQQ")  # handler flags mask: riscv has no SA_RESTORER, so no sa_restorer field
SIGALTSTACK = Struct("<QI4xQ")
SIGINFO_CHILD = Struct("<iii4xiIi100x")  # signo errno code pid uid status; 128 bytes
EPOLL_EVENT = Struct("<I4xQ")  # 16 bytes; x86-64 packs it into 12
CLONE_ARGS = Struct("<8Q")  # flags pidfd child_tid parent_tid exit_signal stack stack_size tls; version 0
MSGHDR = Struct("<QI4xQQQQi4x")  # name namelen iov iovlen control controllen flags; 56 bytes
UTSNAME = Struct("65s65s65s65s65s65s")

STATX_SIZE = 256
STATFS_SIZE = 120
FLOCK_SIZE = 32
SYSINFO_SIZE = 112
RUSAGE_SIZE = 144

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_REMOVEDIR = 0x200
AT_SYMLINK_FOLLOW = 0x400
AT_NO_AUTOMOUNT = 0x800
AT_EMPTY_PATH = 0x1000

O_ACCMODE = 0o3
O_CREAT = 0o100
O_EXCL = 0o200
O_DIRECT = 0o40000
O_LARGEFILE = 0o100000
O_DIRECTORY = 0o200000
O_NOFOLLOW = 0o400000
O_CLOEXEC = 0o2000000

# x86-64 uses the asm-generic values of these; arm and powerpc hosts have numbers of their own.
_HOST_O_FLAGS = (
    (O_DIRECT, os.O_DIRECT),
    (O_DIRECTORY, os.O_DIRECTORY),
    (O_NOFOLLOW, os.O_NOFOLLOW),
)
_MOVED = tuple((guest, host) for guest, host in _HOST_O_FLAGS if guest != host)
_MOVED_GUEST = O_LARGEFILE if _MOVED else 0
for _guest, _host in _MOVED:
    _MOVED_GUEST |= _guest


def to_host_open_flags(flags: int) -> int:
    """O_* flags of the guest as the host's open() and fcntl(F_SETFL) want them."""
    if not _MOVED:
        return flags
    host_flags = flags & ~_MOVED_GUEST
    for guest, host in _MOVED:
        if flags & guest:
            host_flags |= host
    return host_flags


def from_host_open_flags(flags: int) -> int:
    """O_* flags from the host's fcntl(F_GETFL) as the guest expects them."""
    if not _MOVED:
        return flags
    guest_flags = flags
    for _, host in _MOVED:
        guest_flags &= ~host
    for guest, host in _MOVED:
        if flags & host:
            guest_flags |= guest
    return guest_flags
