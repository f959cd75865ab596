"""Signals from outside, as whoever starts vmjit sees them: a terminal's Ctrl-C, parents, signals that are ignored."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from guest_runs import Build

PATIENCE = 20  # seconds
SPIN = "int main(void) { for (volatile unsigned long n = 1;; n++) {} }"
SLEEP = "#include <unistd.h>\nint main(void) { sleep(60); return 0; }"
HANDLE = """
#include <signal.h>
#include <stdio.h>
static volatile sig_atomic_t seen;
static void note(int number) { seen = number; }
int main(void) {
    signal(SIGINT, note);
    puts("ready");
    fflush(stdout);
    while (!seen) {}
    printf("seen %d\\n", seen);
    return 7;
}
"""
IGNORED = """
#include <signal.h>
#include <stdio.h>
#include <unistd.h>
int main(int count, char **arguments) {
    struct sigaction action;
    sigset_t set;
    if (count > 1) {
        sigpending(&set);
        for (int number = 1; number < 32; number++) {
            sigaction(number, 0, &action);
            if (action.sa_handler == SIG_IGN || sigismember(&set, number))
                printf("%d %d\\n", number, sigismember(&set, number));
        }
        return 0;
    }
    signal(SIGPIPE, SIG_IGN), signal(SIGTERM, SIG_IGN), signal(SIGUSR1, (void (*)(int))main);
    sigemptyset(&set), sigaddset(&set, SIGUSR2), sigprocmask(SIG_BLOCK, &set, 0);
    raise(SIGUSR2);
    return execl(arguments[0], arguments[0], "again", NULL);
}
"""


def command(program: Path) -> list[str]:
    return [sys.executable, "-m", "vmjit", "run", str(program)]


def built(build: Build, folder: Path, text: str) -> Path:
    source = folder / "program.c"
    source.write_text(text)
    return build(source, "-O1")


def on_terminal(program: Path, awaited: bytes) -> tuple[bytes, int]:
    """What a program prints on a terminal, Ctrl-C being typed once it has printed what is awaited; its wait status."""
    pid, terminal = pty.fork()
    if not pid:
        os.execv(sys.executable, command(program))
    printed, typed, deadline = b"", False, time.monotonic() + PATIENCE
    if not awaited:
        time.sleep(1.5)
    while time.monotonic() < deadline:
        if not typed and awaited in printed:
            os.write(terminal, b"\x03")
            typed = True
        if select.select([terminal], [], [], 0.05)[0]:
            try:
                printed += os.read(terminal, 4096)
            except OSError:
                break
    os.kill(pid, signal.SIGKILL)
    os.close(terminal)
    return printed, os.waitpid(pid, 0)[1]


@pytest.mark.parametrize("text", [SPIN, SLEEP], ids=["loop", "sleep"])
def test_control_c_ends_a_program(text: str, build_program: Build, tmp_path: Path) -> None:
    printed, status = on_terminal(built(build_program, tmp_path, text), b"")
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGINT
    assert printed == b"^C"


def test_control_c_reaches_a_handler(build_program: Build, tmp_path: Path) -> None:
    printed, status = on_terminal(built(build_program, tmp_path, HANDLE), b"ready")
    assert os.WIFEXITED(status) and os.WEXITSTATUS(status) == 7
    assert printed.split() == [b"ready", b"^Cseen", b"2"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGSEGV, signal.SIGPIPE, signal.SIGKILL, signal.SIGRTMIN])
@pytest.mark.parametrize("text", [SPIN, SLEEP], ids=["loop", "sleep"])
def test_a_parent_sees_what_ended_it(text: str, number: int, build_program: Build, tmp_path: Path) -> None:
    """A signal that is delivered here ends with its exit code, as one that the program causes."""
    process = subprocess.Popen(command(built(build_program, tmp_path, text)), stderr=subprocess.PIPE)
    time.sleep(1.5)
    process.send_signal(number)
    assert process.wait(PATIENCE) in (-number, 128 + number)


def test_what_is_left_to_an_executed_program(build_program: Build, tmp_path: Path) -> None:
    """Ignored signals are ignored, and a signal that is held back still waits."""
    found = subprocess.run(command(built(build_program, tmp_path, IGNORED)), capture_output=True, timeout=PATIENCE)
    assert found.stdout.split(b"\n") == [b"12 1", b"13 0", b"15 0", b""], found.stderr
