"""What is particular to the host: x86-64 with Linux. All other generated text is the same on every host.

The IEEE exceptions and the rounding mode of guest code live in MXCSR while it runs: Intel SDM volume 1, 10.2.3.
System calls take their number in rax: syscall(2).
Offsets in ucontext_t and siginfo_t are those of Linux's <asm/sigcontext.h> and <asm-generic/siginfo.h>.
"""

from collections.abc import Sequence
from functools import cache

SIGNAL_CODE_OFFSET = 8  # si_code in siginfo_t
FAULT_ADDRESS_OFFSET = 16  # si_addr
CONTEXT_FRAME_OFFSET = 40 + 8 * 10  # REG_RBP in ucontext_t
CONTEXT_STACK_OFFSET = 40 + 8 * 15  # REG_RSP
CONTEXT_PC_OFFSET = 40 + 8 * 16  # REG_RIP
CONTEXT_MASK_OFFSET = 40 + 8 * 23 + 72  # uc_sigmask, behind the registers

MXCSR_DEFAULT = 0x1F80  # all exceptions masked, round to nearest
MXCSR_FLAGS = 0x3F

FLOAT_REGISTER = "x"  # the constraint of inline assembly for a register that holds floats
PAUSE = "call void @llvm.x86.sse2.pause()"

SYSTEM_CALLS = {  # <asm/unistd_64.h>
    **{"read": 0, "write": 1, "lseek": 8, "pread64": 17, "pwrite64": 18, "readv": 19, "writev": 20, "sched_yield": 24},
    **{"getpid": 39, "getuid": 102, "getgid": 104, "geteuid": 107, "getegid": 108, "getppid": 110, "gettid": 186},
    "futex": 202,
}
SYSTEM_CALL_REGISTERS = ("rdi", "rsi", "rdx", "r10", "r8", "r9")
MOST_ARGUMENTS = len(SYSTEM_CALL_REGISTERS)


def system_call(result: str, name: str, arguments: Sequence[str]) -> str:
    """Text that makes a call of SYSTEM_CALLS with i64 arguments; the i64 `result` is minus an errno when it failed."""
    operands = ", ".join(f"i64 {argument}" for argument in (SYSTEM_CALLS[name], *arguments))
    used = "".join(f",{{{register}}}" for register in SYSTEM_CALL_REGISTERS[: len(arguments)])
    constraints = f"={{rax}},{{rax}}{used},~{{rcx}},~{{r11}},~{{memory}},~{{dirflag}},~{{fpsr}},~{{flags}}"
    return f'{result} = call i64 asm sideeffect "syscall", "{constraints}"({operands})'


def gate(waiting: int, not_made: int) -> str:
    """Assembly of codegen/interrupts.py's gate: `waiting` is the offset of a word in the state that must be 0.

    What lies between the first two labels is done in vain if it is left before the call is made.
    """
    lines = (
        f"leaq {waiting}(%rdi), %r11",
        "movq %rsi, %rax",
        "movq %rdx, %rdi",
        "movq %rcx, %rsi",
        "movq %r8, %rdx",
        "movq %r9, %r10",
        "movq 8(%rsp), %r8",
        "movq 16(%rsp), %r9",
        "gate_start:",
        "cmpq $$0, (%r11)",
        "jne gate_left",
        "syscall",
        "gate_end:",
        "retq",
        "gate_left:",
        f"movq $${not_made}, %rax",
        "retq",
    )
    return "\\0A".join(lines)


def read_control(result: str, scratch: str) -> str:
    """Text that puts MXCSR into the i32 `result`; `scratch` is a pointer to four bytes."""
    return f"call void @llvm.x86.sse.stmxcsr(ptr {scratch})\n{result} = load i32, ptr {scratch}, align 4"


def write_control(value: str, scratch: str) -> str:
    """Text that sets MXCSR to the i32 `value`."""
    return f"store i32 {value}, ptr {scratch}, align 4\ncall void @llvm.x86.sse.ldmxcsr(ptr {scratch})"


def flags_from_control(result: str, control: str) -> str:
    """Text that turns MXCSR's exception bits into RISC-V's fflags, an i64.

    IE 0 -> NV 4, ZE 2 -> DZ 3, OE 3 -> OF 2, UE 4 -> UF 1, PE 5 -> NX 0; bit 1, denormal operand, has no counterpart.
    """
    lines, terms = [], []
    for bit, flag in ((0, 4), (2, 3), (3, 2), (4, 1), (5, 0)):
        name = f"{result}.f{flag}"
        lines.append(f"{name}.a = lshr i32 {control}, {bit}")
        lines.append(f"{name}.b = and i32 {name}.a, 1")
        lines.append(f"{name} = shl i32 {name}.b, {flag}")
        terms.append(name)
    total = terms[0]
    for index, term in enumerate(terms[1:]):
        lines.append(f"{result}.o{index} = or i32 {total}, {term}")
        total = f"{result}.o{index}"
    lines.append(f"{result} = zext i32 {total} to i64")
    return "\n".join(lines)


def control_with_rounding(result: str, control: str, mode: str) -> str:
    """Text that puts rounding mode `mode` (i64, frm 0 to 3) into the i32 `control`: bits 13 and 14 of MXCSR.

    The modes in the order of frm are 0 nearest, 3 to zero, 1 down, 2 up there; the table below holds two bits for each.
    """
    table = 0b10_01_11_00
    return f"""\
{result}.s = shl i64 {mode}, 1
{result}.t = lshr i64 {table}, {result}.s
{result}.m = and i64 {result}.t, 3
{result}.n = trunc i64 {result}.m to i32
{result}.p = shl i32 {result}.n, 13
{result}.c = and i32 {control}, {0xFFFFFFFF ^ (3 << 13)}
{result} = or i32 {result}.c, {result}.p"""


@cache
def features() -> frozenset[str]:
    """What the processor can do, as Linux names it."""
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        line = next((line for line in file if line.startswith("flags")), "")
    return frozenset(line.partition(":")[2].split())


def has_fused_multiply_add() -> bool:
    """Without it LLVM would call the C library."""
    return "fma" in features()


def has_integral_rounding() -> bool:
    """ROUNDSD; without it LLVM would call the C library."""
    return "sse4_1" in features()
