"""The executable that runs programs under qemu: reads one, runs it, writes how it ended, and again.

It reads x1 to x31, f0 to f31, fcsr and the protection of the code from standard input, then the code and the data
themselves. A signal handler writes siginfo, struct sigcontext (pc, x1 to x31, f0 to f31, fcsr) and memory to standard
output; it never returns, but goes on with the next program.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from vmjit.fuzz.elf_writer import EXECUTE, READ, WRITE, Segment, executable
from vmjit.fuzz.program import CODE, CODE_SIZE, CONSTANT, CONSTANT_SIZE, DATA, DATA_SIZE, Line, Program, Statement, line

DRIVER, RECORD, STACK, SIZE = 0x80000, 0x90000, 0xA0000, 0x10000  # from DRIVER a jump reaches CODE; size of each
ACTION, ALTERNATE = RECORD + 0x400, RECORD + 0x440  # struct sigaction, struct sigaltstack
FLOATS, STATUS, PROTECTION, RECORD_SIZE = 31 * 8, 63 * 8, 64 * 8, 65 * 8  # offsets in what is read
SIGINFO_SIZE, CONTEXT_SIZE = 128, 65 * 8
CONTEXT = 176  # offset in struct ucontext
ANSWER_SIZE = SIGINFO_SIZE + CONTEXT_SIZE + CODE_SIZE + DATA_SIZE + CONSTANT_SIZE
SA_FLAGS = 4 | 0x08000000 | 0x40000000  # SA_SIGINFO, SA_ONSTACK, SA_NODEFER
READ_CALL, WRITE_CALL, EXIT, SIGALTSTACK, SIGACTION, MPROTECT = 63, 64, 93, 132, 134, 226
READ_ONLY, READ_WRITE, READ_EXECUTE, ALL = 1, 3, 5, 7  # protections
T0, S0, S1, A0, A1, A2, A7, T6 = 5, 8, 9, 10, 11, 12, 17, 31
FCSR = 3


def driver(signals: Iterable[int]) -> bytes:
    """The ELF file; `signals` are those that end programs."""
    program = Program(tuple(_statements(signals)), start=DRIVER)
    content = b"".join(code for _, code, _ in program.lines())
    action = struct.pack("<QQQ", program.addresses["handler"], SA_FLAGS, 0)
    alternate = struct.pack("<QQQ", STACK, 0, SIZE)
    record = (bytes(ACTION - RECORD) + action).ljust(ALTERNATE - RECORD, b"\0") + alternate
    segments = (
        Segment(CODE, CODE_SIZE, READ | WRITE),
        Segment(DATA, DATA_SIZE + CONSTANT_SIZE, READ | WRITE),
        Segment(DRIVER, len(content), READ | EXECUTE, content),
        Segment(RECORD, SIZE, READ | WRITE, record),
        Segment(STACK, SIZE, READ | WRITE),
    )
    return executable(program.addresses["begin"], segments)


def _statements(signals: Iterable[int]) -> Iterator[Statement]:
    yield Statement((line("jal", rd=0, offset=CODE - DRIVER),), "launch")
    yield Statement(_call(SIGALTSTACK, ALTERNATE, 0), "begin")
    for number in signals:
        yield Statement(_call(SIGACTION, number, ACTION, 0, 8))
    yield Statement(_call(MPROTECT, CODE, CODE_SIZE, READ_WRITE), "next")
    yield Statement(_call(MPROTECT, CONSTANT, CONSTANT_SIZE, READ_WRITE))
    for address, size in ((RECORD, RECORD_SIZE), (CODE, CODE_SIZE), (DATA, DATA_SIZE + CONSTANT_SIZE)):
        yield from _read(address, size)
    yield Statement(_call(MPROTECT, CONSTANT, CONSTANT_SIZE, READ_ONLY))
    yield Statement((*_constant(T0, RECORD), line("ld", rd=A2, rs1=T0, imm=PROTECTION)))
    yield Statement((*_constant(A0, CODE), *_constant(A1, CODE_SIZE), *_constant(A7, MPROTECT), line("ecall")))
    yield Statement((line("sc.w", rd=0, rs2=0, rs1=T0, aqrl=0),))  # no reservation is left
    yield Statement((line("ld", rd=A0, rs1=T0, imm=STATUS), line("csrrw", rd=0, rs1=A0, csr=FCSR)))
    yield Statement(tuple(line("fld", fd=n, rs1=T0, imm=FLOATS + 8 * n) for n in range(32)))
    yield Statement((*_constant(T6, RECORD), *(line("ld", rd=n, rs1=T6, imm=8 * (n - 1)) for n in range(1, 32))))
    yield Statement((line("jal", "launch", rd=0),))
    yield Statement((line("addi", rd=S0, rs1=A2, imm=CONTEXT),), "handler")
    yield Statement((*_constant(A0, 1), *_constant(A2, SIGINFO_SIZE), *_constant(A7, WRITE_CALL), line("ecall")))
    yield Statement((*_constant(A0, 1), line("addi", rd=A1, rs1=S0, imm=0), *_constant(A2, CONTEXT_SIZE)))
    yield Statement((*_constant(A7, WRITE_CALL), line("ecall")))
    yield Statement(_call(WRITE_CALL, 1, CODE, CODE_SIZE))
    yield Statement(_call(WRITE_CALL, 1, DATA, DATA_SIZE + CONSTANT_SIZE))
    yield Statement((line("jal", "next", rd=0),))
    yield Statement(_call(EXIT, 0), "exit")


def _constant(register: int, value: int) -> tuple[Line, ...]:
    upper = (value + 0x800) & ~0xFFF
    return line("lui", rd=register, upper=upper), line("addi", rd=register, rs1=register, imm=value - upper)


def _call(number: int, *arguments: int) -> tuple[Line, ...]:
    """A system call."""
    values = [(A7, number), *((A0 + index, value) for index, value in enumerate(arguments))]
    return (*(each for register, value in values for each in _constant(register, value)), line("ecall"))


def _read(address: int, size: int) -> Iterator[Statement]:
    """Read exactly that much, or exit at the end of the input."""
    again = f"read_{address:x}"
    yield Statement((*_constant(S0, address), *_constant(S1, size)))
    yield Statement((*_constant(A7, READ_CALL), line("addi", rd=A0, rs1=0, imm=0)), again)
    yield Statement((line("addi", rd=A1, rs1=S0, imm=0), line("addi", rd=A2, rs1=S1, imm=0), line("ecall")))
    yield Statement((line("bge", "exit", rs1=0, rs2=A0),))
    yield Statement((line("add", rd=S0, rs1=S0, rs2=A0), line("sub", rd=S1, rs1=S1, rs2=A0)))
    yield Statement((line("bne", again, rs1=S1, rs2=0),))
