import re
import shutil
import subprocess
from pathlib import Path

import pytest

from vmjit.linux import abi

COMPILER = "riscv64-linux-gnu-gcc"
needs_compiler = pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"{COMPILER} is not installed")


def test_numbers_are_unique_and_known_ones_right() -> None:
    assert len(abi.NAMES) == len(abi.NUMBERS)
    for name, number in {"getcwd": 17, "openat": 56, "exit_group": 94, "brk": 214, "mmap": 222, "wait4": 260}.items():
        assert abi.NUMBERS[name] == number
    assert abi.NUMBERS["riscv_flush_icache"] == 259
    assert abi.NUMBERS["mseal"] == 462


@needs_compiler
def test_numbers_equal_the_kernel_header() -> None:
    source = "#include <asm/unistd.h>\n"
    text = subprocess.run([COMPILER, "-E", "-dM", "-"], input=source, capture_output=True, text=True, check=True).stdout
    raw = dict(re.findall(r"#define (__NR\w*) (.+)", text))

    def value(expression: str) -> int:
        while (name := re.search(r"__NR\w*", expression)) is not None:
            expression = expression.replace(name.group(), raw[name.group()])
        return sum(int(part) for part in expression.strip("()").replace("(", "").split("+"))

    header = {name.removeprefix("__NR_"): value(number) for name, number in raw.items() if name.startswith("__NR_")}
    del header["syscalls"], header["arch_specific_syscall"]
    assert {name: abi.NUMBERS.get(name) for name in header} == header
    newest = max(header.values())
    # riscv_hwprobe came with Linux 6.4, after some headers.
    assert {name for name, number in abi.NUMBERS.items() if number <= newest} - {
        "riscv_hwprobe",
        "memfd_secret",
    } <= set(header)


@needs_compiler
def test_layouts_equal_the_kernel_headers(tmp_path: Path) -> None:
    structures = {
        "struct stat": abi.STAT.size,
        "struct sigaction": abi.SIGACTION.size,
        "stack_t": abi.SIGALTSTACK.size,
        "siginfo_t": abi.SIGINFO_CHILD.size,
        "struct epoll_event": abi.EPOLL_EVENT.size,
        "struct statfs": abi.STATFS_SIZE,
        "struct statx": abi.STATX_SIZE,
        "struct flock": abi.FLOCK_SIZE,
        "struct sysinfo": abi.SYSINFO_SIZE,
        "struct rusage": abi.RUSAGE_SIZE,
        "struct new_utsname": abi.UTSNAME.size,
    }
    offsets = {"struct stat": {"st_size": 48, "st_blocks": 64, "st_atime": 72, "st_ctime_nsec": 112}}
    headers = "asm/stat.h asm/signal.h asm/siginfo.h linux/eventpoll.h asm/statfs.h linux/stat.h linux/fcntl.h"
    headers += " linux/sysinfo.h linux/resource.h linux/utsname.h stddef.h"
    source = "".join(f"#include <{header}>\n" for header in headers.split())
    for name, size in structures.items():
        source += f'_Static_assert(sizeof({name}) == {size}, "{name}");\n'
    for name, fields in offsets.items():
        for field, offset in fields.items():
            source += f'_Static_assert(offsetof({name}, {field}) == {offset}, "{field}");\n'
    flags = {name: getattr(abi, name) for name in dir(abi) if re.fullmatch(r"O_[A-Z]+", name)}
    for name, flag in flags.items():
        source += f'_Static_assert({name} == {flag}, "{name}");\n'
    (tmp_path / "layout.c").write_text(source)
    subprocess.run([COMPILER, "-fsyntax-only", str(tmp_path / "layout.c")], check=True)


def test_stat_fields_are_where_the_header_says() -> None:
    packed = abi.STAT.pack(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)
    assert len(packed) == 128
    assert packed[48] == 8
    assert packed[64] == 10
    assert packed[112] == 16


def test_open_flags_survive_translation() -> None:
    flags = abi.O_DIRECT | abi.O_DIRECTORY | abi.O_NOFOLLOW | abi.O_CLOEXEC | 2
    assert abi.from_host_open_flags(abi.to_host_open_flags(flags)) == flags
