"""Runs programs under qemu-riscv64: one process, on an executable of ours, that is given one program after another.

A program must end by a trap, whose signal frame says what the registers hold. Where qemu and the manual part ways, or
the manual leaves the choice, programs do without (`limits`), or the end says that it does not know:

- qemu's `cycle` and `instret` are clocks of the host.
- SC of another width than the LR before it: such a sequence is not a constrained one (unprivileged manual, "Zalrsc",
  section "Eventual Success of Store-Conditional Instructions"), so SC may fail or not, and implementations differ.
- SC without a reservation: qemu does not look at the address. The same chapter requires an exception for one that is
  not aligned, and leaves open whether a failing SC may fault.
- Extensions that this qemu lacks, and CTZW where it counts in 64 bits (before 8.0; unprivileged manual, "Zbb"): what
  each gives is looked at when qemu starts.
- A breakpoint less than 8 bytes before a page that is not mapped: qemu reads on, whether it is one of semihosting, and
  takes what it does not find for a fetch that faults.
- Memory that is there only under qemu, such as the stack: a program that faults in it is not run.
- System calls: should control go astray, one would be the host's, with any arguments. So a program that made one in a
  tier is not run, and qemu has no rights.
- An address that the host cannot have, because it is not canonical, is reported as 0.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import struct
import subprocess
from functools import cached_property

from vmjit.errors import UsageError, VmjitError
from vmjit.fuzz.end import LIMIT, End
from vmjit.fuzz.limits import Limits
from vmjit.fuzz.program import Line, Program, Statement, instruction_set, line
from vmjit.fuzz.qemu_driver import ALL, ANSWER_SIZE, CONTEXT_SIZE, DRIVER, READ_EXECUTE, SIGINFO_SIZE, driver
from vmjit.fuzz.vocabulary import kinds

EMULATOR = "qemu-riscv64"
PATIENCE = 20.0  # seconds: programs take far less than one, but the machine may be busy
NOBODY = 65534
OTHERS = (range(DRIVER, 1 << 24), range(1 << 38, 1 << 39))  # where what is mapped is not the program's: driver, stack
OPTIONAL = ("Zba", "Zbb", "Zbs", "Zicond")
FAULT_ADDRESS = 16  # offset in siginfo
REASONS = {
    signal.SIGILL: "ILLEGAL",
    signal.SIGTRAP: "BREAKPOINT",
    signal.SIGBUS: "MISALIGNED",
    signal.SIGSEGV: "FAULT",
}


def may_judge(end: End) -> bool:
    """Whether a program that ends like this in a tier may be run under qemu."""
    is_elsewhere = end.reason == "FAULT" and any(end.argument in other for other in OTHERS)
    return end.reason != LIMIT and not end.calls and not is_elsewhere


class QemuError(VmjitError):
    """qemu ended, or says nothing."""


class Qemu:
    """`run` gives the end of a program that is known to have one."""

    def __init__(self) -> None:
        emulator = shutil.which(EMULATOR)
        if emulator is None:
            raise UsageError(f"fuzz: {EMULATOR} is not installed (Debian: qemu-user)")
        self.emulator = emulator
        self.driver = os.memfd_create("driver")  # a file that is gone with us, however we end
        os.write(self.driver, driver(REASONS))
        self.process: subprocess.Popen[bytes] | None = None

    @cached_property
    def limits(self) -> Limits:
        """What programs may hold."""
        lacking = set()
        for extension in OPTIONAL:
            members = [made for made in kinds().pure if made.extension == extension]
            if self._result(members[0].name, 0) is None:
                lacking |= {made.name for made in members}
        if self._result("ctzw", 1 << 33) != 32:
            lacking.add("ctzw")
        return Limits(
            frozenset(lacking), counts=False, endless=False, mixed=False, failing=False, last=False, calls=False
        )

    def _result(self, name: str, operand: int) -> int | None:
        """What an instruction leaves in x10 when it has that operand; None if it is illegal."""
        encoding = instruction_set().named(name).encoding
        tried = Line(encoding.encode(**dict.fromkeys(encoding.fields, 10)).to_bytes(encoding.size, "little"))
        end = self.run(Program((Statement((tried, line("ebreak"))),), {"x10": operand}))
        return None if end.reason == "ILLEGAL" else end.registers["x10"]

    def run(self, program: Program) -> End:
        """How the program ends. Raises QemuError."""
        try:
            return _end(self._answer(_record(program) + program.image + program.data))
        except (OSError, QemuError) as error:
            self.stop()
            raise QemuError(str(error)) from error

    def _answer(self, request: bytes) -> bytes:
        if self.process is None:
            self.process = self._start()
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(request)
        answer = b""
        while len(answer) < ANSWER_SIZE:
            if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
                raise QemuError(f"no answer in {PATIENCE:g} s")
            part = self.process.stdout.read(ANSWER_SIZE - len(answer))
            if not part:
                raise QemuError(f"qemu ended with status {self.process.wait()}")
            answer += part
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        is_root = os.geteuid() == 0
        return subprocess.Popen(
            [self.emulator, "-cpu", "rv64", f"/proc/self/fd/{self.driver}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            pass_fds=[self.driver],
            user=NOBODY if is_root else None,
            group=NOBODY if is_root else None,
            extra_groups=[] if is_root else None,
        )

    def stop(self) -> None:
        """End the process; the next program starts another."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def close(self) -> None:
        self.stop()
        os.close(self.driver)


def _record(program: Program) -> bytes:
    values = program.registers
    x = [values.get(f"x{n}", 0) for n in range(1, 32)]
    f = [values.get(f"f{n}", 0) for n in range(32)]
    status = values.get("frm", 0) << 5 | values.get("fflags", 0)
    return struct.pack("<65Q", *x, *f, status, ALL if program.writable else READ_EXECUTE)


def _end(answer: bytes) -> End:
    number, address = struct.unpack_from("<i", answer)[0], struct.unpack_from("<Q", answer, FAULT_ADDRESS)[0]
    pc, *values, status = struct.unpack_from("<65Q", answer, SIGINFO_SIZE)
    registers = {f"x{n}": value for n, value in enumerate((0, *values[:31]))}
    registers |= {f"f{n}": value for n, value in enumerate(values[31:])}
    registers |= {"fflags": status & 31, "frm": status >> 5 & 7}
    known = number in (signal.SIGSEGV, signal.SIGBUS) and address
    memory = answer[SIGINFO_SIZE + CONTEXT_SIZE :]
    return End(REASONS[signal.Signals(number)], pc, address if known else None, registers, memory)
