import errno
import os
import resource
import struct
from pathlib import Path

import pytest

from tests.linux.conftest import Guest

UNMAPPED = 0x9000000
STACK, NOFILE = 3, 7


def test_ids(guest: Guest) -> None:
    for name in ("getpid", "getppid", "getuid", "geteuid", "getgid", "getegid"):
        assert guest.call(name) == getattr(os, name)()
    at = guest.space(12)
    assert guest.call("getresuid", at, at + 4, at + 8) == 0
    assert struct.unpack("<3I", guest.memory.read(at, 12)) == os.getresuid()
    assert guest.call("setresuid", -1, -1, -1) == 0
    assert guest.call("setfsuid", os.getuid()) == os.geteuid()
    assert guest.call("getpgid", 0) == os.getpgrp()
    assert guest.call("getsid", 0) == os.getsid(0)
    assert guest.call("getresgid", at, UNMAPPED, at) == -errno.EFAULT


def test_groups(guest: Guest) -> None:
    groups, at = os.getgroups(), guest.space(4096)
    assert guest.call("getgroups", 0, 0) == len(groups)
    assert guest.call("getgroups", 1024, at) == len(groups)
    assert list(struct.unpack(f"<{len(groups)}I", guest.memory.read(at, 4 * len(groups)))) == groups
    assert guest.call("getgroups", -1, at) == -errno.EINVAL


def test_scheduling(guest: Guest) -> None:
    at = guest.space(128)
    size = guest.call("sched_getaffinity", 0, 128, at)
    mask = int.from_bytes(guest.memory.read(at, size), "little")
    assert {cpu for cpu in range(mask.bit_length()) if mask >> cpu & 1} == os.sched_getaffinity(0)
    assert guest.call("sched_getaffinity", 0, 7, at) == -errno.EINVAL
    assert guest.call("sched_setaffinity", 0, size, at) == 0
    assert guest.call("sched_yield") == 0
    assert guest.call("sched_getscheduler", 0) == os.SCHED_OTHER
    assert guest.call("sched_getparam", 0, at) == 0
    assert guest.memory.read(at, 4) == bytes(4)
    assert guest.call("sched_get_priority_max", 1) == 99
    assert guest.call("getpriority", 0, 0) == 20 - os.getpriority(os.PRIO_PROCESS, 0)


def test_the_processor_is_the_hosts(guest: Guest) -> None:
    at = guest.space(8)
    allowed = os.sched_getaffinity(0)
    try:
        for cpu in allowed:
            os.sched_setaffinity(0, {cpu})
            assert guest.call("getcpu", at, at + 4, 0) == 0
            found, node = struct.unpack("<II", guest.memory.read(at, 8))
            assert found == cpu
            assert os.path.exists(f"/sys/devices/system/cpu/cpu{cpu}/node{node}") or node == 0  # not all have nodes
    finally:
        os.sched_setaffinity(0, allowed)
    assert guest.call("getcpu", 0, 0, 0) == 0
    assert guest.call("getcpu", at, UNMAPPED, 0) == -errno.EFAULT


def test_names_are_the_hosts(guest: Guest) -> None:
    name = guest.put(os.uname().nodename.encode())
    assert guest.call("sethostname", name, len(os.uname().nodename)) == -errno.EPERM
    assert guest.call("setdomainname", name, 1) == -errno.EPERM


def test_uname_is_riscv(guest: Guest) -> None:
    at = guest.space(390)
    assert guest.call("uname", at) == 0
    names = [guest.memory.read_cstring(at + 65 * index) for index in range(6)]
    assert names[0] == b"Linux"
    assert names[1] == os.uname().nodename.encode()
    assert names[2].startswith(b"6.")
    assert names[4] == b"riscv64"
    assert guest.call("uname", UNMAPPED) == -errno.EFAULT


def test_sysinfo(guest: Guest) -> None:
    at = guest.space(112)
    assert guest.call("sysinfo", at) == 0
    total, unit = struct.unpack_from("<Q", guest.memory.read(at, 112), 32)[0], guest.memory.read(at + 104, 4)
    assert total * int.from_bytes(unit, "little") == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_limits(guest: Guest) -> None:
    at = guest.space(16)
    assert guest.call("prlimit64", 0, NOFILE, 0, at) == 0
    limits = struct.unpack("<qq", guest.memory.read(at, 16))
    assert limits == resource.getrlimit(resource.RLIMIT_NOFILE)
    assert guest.call("getrlimit", NOFILE, at) == 0
    assert guest.call("setrlimit", NOFILE, at) == 0
    assert guest.call("prlimit64", 0, 99, 0, at) == -errno.EINVAL


def test_memory_limits_do_not_reach_the_emulator(guest: Guest) -> None:
    before, at = resource.getrlimit(resource.RLIMIT_STACK), guest.space(16)
    assert guest.call("prlimit64", 0, STACK, guest.put(struct.pack("<QQ", 65536, 1 << 20)), at) == 0
    assert struct.unpack("<qq", guest.memory.read(at, 16)) == before
    assert guest.call("prlimit64", 0, STACK, 0, at) == 0
    assert struct.unpack("<QQ", guest.memory.read(at, 16)) == (65536, 1 << 20)
    assert resource.getrlimit(resource.RLIMIT_STACK) == before
    assert guest.call("prlimit64", 0, STACK, guest.put(struct.pack("<QQ", 2, 1)), 0) == -errno.EINVAL


def test_a_small_limit_of_descriptors_leaves_the_emulator_some(guest: Guest) -> None:
    before, at = resource.getrlimit(resource.RLIMIT_NOFILE), guest.space(16)
    try:
        assert guest.call("setrlimit", NOFILE, guest.put(struct.pack("<QQ", 3, before[1]))) == 0
        assert guest.call("getrlimit", NOFILE, at) == 0
        assert struct.unpack("<QQ", guest.memory.read(at, 16)) == (3, before[1])
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(256, before[0]), before[1])
        assert guest.call("setrlimit", NOFILE, guest.put(struct.pack("<QQ", *before))) == 0
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_prctl_name(guest: Guest) -> None:
    at = guest.space(16)
    assert guest.call("prctl", 16, at) == 0
    assert guest.memory.read_cstring(at) == b"program"
    assert guest.call("prctl", 15, b"a name that is too long") == 0
    assert guest.call("prctl", 16, at) == 0
    assert guest.memory.read(at, 16) == b"a name that is \0"
    assert guest.call("prctl", 12345) == -errno.EINVAL


def test_prctl_asks_the_host_about_its_process(guest: Guest) -> None:
    at = guest.space(16)
    assert guest.call("prctl", 3) == 1  # PR_GET_DUMPABLE
    assert guest.call("prctl", 23, 0) in (0, 1)  # PR_CAPBSET_READ
    assert guest.call("prctl", 23, 1000) == -errno.EINVAL
    assert guest.call("prctl", 2, at) == 0  # PR_GET_PDEATHSIG
    assert guest.memory.read(at, 4) == bytes(4)


def test_capabilities(guest: Guest) -> None:
    header, data = guest.put(struct.pack("<Ii", 0x20080522, 0)), guest.space(24)
    assert guest.call("capget", header, data) == 0
    effective = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff"))
    assert struct.unpack("<6I", guest.memory.read(data, 24))[0] == int(effective.split()[1], 16) & 0xFFFFFFFF
    assert guest.call("capset", header, data) == 0
    old = guest.put(struct.pack("<Ii", 1, 0))
    assert guest.call("capget", old, 0) == 0
    assert guest.memory.read(old, 4) == (0x20080522).to_bytes(4, "little")
    assert guest.call("capset", guest.put(bytes(8)), data) == -errno.EINVAL


def test_the_time_slice_is_a_timespec(guest: Guest) -> None:
    at = guest.space(16)
    assert guest.call("sched_rr_get_interval", 0, at) == 0
    seconds, nanoseconds = struct.unpack("<qq", guest.memory.read(at, 16))
    assert seconds >= 0 and 0 <= nanoseconds < 1_000_000_000


def test_unknown_calls_are_reported_once(guest: Guest, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert guest.call("bpf") == -errno.ENOSYS
        assert guest.process.syscall(9999, [0] * 6) == -errno.ENOSYS
    assert capfd.readouterr().err == (
        "vmjit: syscall 280 (bpf) is not implemented; returned ENOSYS\n"
        "vmjit: syscall 9999 (unknown) is not implemented; returned ENOSYS\n"
    )


def test_attributes_of_scheduling(guest: Guest) -> None:
    at = guest.space(64)
    assert guest.call("sched_getattr", 0, at, 48, 0) == 0
    size, policy, _, nice = struct.unpack_from("<IIQi", guest.memory.read(at, 48))
    assert (size, policy, nice) == (48, os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0))
    assert guest.call("sched_setattr", 0, at, 0) == 0
    assert guest.call("sched_getattr", 0, at, 47, 0) == -errno.EINVAL
    assert guest.call("sched_getattr", 0, at, 48, 1) == -errno.EINVAL
    guest.memory.write(at, struct.pack("<I", 47))
    assert guest.call("sched_setattr", 0, at, 0) == -errno.E2BIG
    assert guest.memory.read(at, 4) == struct.pack("<I", 48)


def test_priorities_of_input_and_output(guest: Guest) -> None:
    before = guest.call("ioprio_get", 1, 0)
    assert before >= 0
    idle = 3 << 13
    assert guest.call("ioprio_set", 1, 0, idle) == 0
    assert guest.call("ioprio_get", 1, 0) == idle
    assert guest.call("ioprio_set", 1, 0, 7 << 13) == -errno.EINVAL
    assert guest.call("ioprio_set", 1, 0, 0) == 0
