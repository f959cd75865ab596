"""System calls that native code makes itself, as LLVM text: the code behind the state's word `trap`.

Each system call of guest code comes here, with the slot of the instruction after it. A call of the table whose
arguments are surely in order is made to the host, which sees guest memory at its own addresses and so finds itself what
is not mapped or protected; then the guest goes on. Everything else leaves with reason SYSCALL, as if nothing had been
tried, and the world makes the call; with EINTR as argument it was made, and a signal interrupted it. A fault of this
code in guest memory means the same as what is not tried.

`descriptors` points to a byte for each descriptor that may be used here, `clock` to the C library's clock_gettime,
which needs no system call for most clocks, `gate` to the function of codegen/interrupts.py; they are filled in by
whoever places the code.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from errno import EAGAIN, EINTR, EPIPE

from vmjit.codegen import host
from vmjit.codegen.interrupts import NOT_MADE
from vmjit.codegen.lower import CONVENTION, PARAMETERS
from vmjit.codegen.runtime import CLOCK_REALTIME, leave, pc_of_slot, put, tail, word
from vmjit.ir.exits import ExitReason
from vmjit.ir.layout import ADDRESS_BITS, Layout

# Number in the guest, name, and what the arguments are: number, fd, or data and vectors, whose size comes next.
Call = tuple[int, str, tuple[str, ...]]

ADDRESSES = 1 << ADDRESS_BITS
PAIR = 16  # bytes of struct timespec, timeval or iovec
MOST_VECTORS = 8  # of readv and writev; libraries use two
AGAIN = (NOT_MADE, -EPIPE)  # the world makes the call then: it looks at signals, or sends one
FUTEX_WAIT, FUTEX_WAKE = 128, 128 + 1  # private
FUTEX_WAITS = (FUTEX_WAIT, 128 + 9, 128 + 9 + 256)  # WAIT_BITSET too, by either clock


@dataclass(frozen=True)
class Registers:
    """Those of a system call, named as in the layout."""

    number: str
    arguments: tuple[str, ...]
    result: str


@dataclass
class Body:
    """The code of one call; `check` goes on only if something holds."""

    layout: Layout
    name: str
    registers: Registers
    lines: list[str] = field(default_factory=list)
    serial: int = 0

    def emit(self, text: str) -> None:
        self.lines.append(text)

    def fresh(self) -> str:
        self.serial += 1
        return f"%{self.name}{self.serial}"

    def make(self, operation: str) -> str:
        """The name of an operation's result."""
        result = self.fresh()
        self.emit(f"{result} = {operation}")
        return result

    def argument(self, number: int) -> str:
        result = self.fresh()
        self.emit(word(self.layout, result, self.registers.arguments[number]))
        return result

    def check(self, condition: str) -> None:
        """Leave it to the world unless this i1 is true."""
        label = self.fresh()
        self.emit(f"br i1 {condition}, label {label}, label %slow\n{label[1:]}:")

    def within(self, address: str, size: int) -> None:
        """Check that bytes of guest memory are that."""
        self.check(self.make(f"icmp ule i64 {address}, {ADDRESSES - size}"))

    def touches(self, tag: str) -> None:
        """What the state must say when an access of this code to guest memory faults."""
        self.emit(put(self.layout, "pc", "i64", "%pc", f"{self.name}.{tag}"))
        self.emit(put(self.layout, "instret", "i64", "%instret", f"{self.name}.{tag}"))

    def guest(self, address: str) -> str:
        """The host pointer to guest memory."""
        return self.make(f"getelementptr i8, ptr %memory, i64 {address}")

    def host_address(self, address: str) -> str:
        return self.make(f"add i64 %base, {address}")

    def done(self, result: str) -> None:
        """The guest goes on with this i64."""
        self.emit(put(self.layout, self.registers.result, "i64", result, self.fresh()[1:]))
        self.emit("br label %done")


def trap(layout: Layout, registers: Registers, descriptors: int, calls: Sequence[Call]) -> str:
    """The module; `descriptors` is the size of their table. Calls that the host does not know are left out."""
    served = [call for call in calls if call[1] in SPECIAL or call[1] in host.SYSTEM_CALLS]
    cases = " ".join(f"i64 {call[0]}, label %{call[1]}" for call in served)
    bodies = "\n".join(_call(layout, registers, descriptors, call) for call in served)
    return f"""\
@descriptors = dso_local global ptr null
@clock = dso_local global ptr null
@gate = dso_local global ptr null
define {CONVENTION} void @trap({PARAMETERS}) nounwind {{
%pairs = alloca [{PAIR * MOST_VECTORS} x i8], align 8
%base = ptrtoint ptr %memory to i64
{pc_of_slot("%pc")}
{word(layout, "%number", registers.number)}
switch i64 %number, label %slow [ {cases} ]
{bodies}
interrupted:
{leave(layout, ExitReason.SYSCALL, "%pc", str(EINTR), "i")}
slow:
{leave(layout, ExitReason.SYSCALL, "%pc", "0", "s")}
done:
{tail("%slot", "go")}
}}"""


def _call(layout: Layout, registers: Registers, descriptors: int, call: Call) -> str:
    _, name, kinds = call
    body = Body(layout, name, registers)
    if name in SPECIAL:
        SPECIAL[name](body)
    else:
        values = [body.argument(index) for index in range(len(kinds))]
        for index, kind in enumerate(kinds):
            if kind == "fd":
                _require_descriptor(body, values[index], descriptors)
            elif kind == "data":
                values[index] = _data(body, values[index], values[index + 1])
            elif kind == "vectors":
                values[index] = _vectors(body, values[index], values[index + 1])
        if kinds:
            _may_wait(body, name, values)
        else:
            body.done(_to_host(body, name, values))
    return "\n".join((f"{name}:", *body.lines))


def _to_host(body: Body, name: str, values: Sequence[str]) -> str:
    result = body.fresh()
    body.emit(host.system_call(result, name, values))
    return result


def _may_wait(body: Body, name: str, values: Sequence[str]) -> None:
    """A call that a signal interrupts, also one that has come since guest code looked at the limit."""
    gate = body.make("load ptr, ptr @gate, align 8")
    number, *rest = (str(host.SYSTEM_CALLS[name]), *values, *["0"] * (host.MOST_ARGUMENTS - len(values)))
    operands = "".join(f", i64 {value}" for value in (number, *rest))
    result = body.make(f"call i64 {gate}(ptr %state{operands})")
    done = body.fresh()
    body.emit(f"switch i64 {result}, label {done} [ i64 {-EINTR}, label %interrupted ]\n{done[1:]}:")
    for again in AGAIN:
        body.check(body.make(f"icmp ne i64 {result}, {again}"))
    body.done(result)


def _require_descriptor(body: Body, value: str, count: int) -> None:
    """A descriptor is an int: the kernel does not look at the upper half of the register either."""
    number = body.make(f"and i64 {value}, {0xFFFFFFFF}")
    body.check(body.make(f"icmp ult i64 {number}, {count}"))
    table = body.make("load ptr, ptr @descriptors, align 8")
    place = body.make(f"getelementptr i8, ptr {table}, i64 {number}")
    usable = body.make(f"load volatile i8, ptr {place}, align 1")
    body.check(body.make(f"icmp ne i8 {usable}, 0"))


def _require_range(body: Body, address: str, size: str) -> None:
    room = body.make(f"sub i64 {ADDRESSES}, {address}")
    starts = body.make(f"icmp ule i64 {address}, {ADDRESSES}")
    ends = body.make(f"icmp ule i64 {size}, {room}")
    body.check(body.make(f"and i1 {starts}, {ends}"))


def _data(body: Body, address: str, size: str) -> str:
    """The host address of a buffer within guest addresses."""
    _require_range(body, address, size)
    return body.host_address(address)


def _vectors(body: Body, address: str, count: str) -> str:
    """The host address of a copy of an iovec array that has host addresses."""
    fewer = body.make(f"sub i64 {count}, 1")
    body.check(body.make(f"icmp ult i64 {fewer}, {MOST_VECTORS}"))
    body.within(address, PAIR * MOST_VECTORS)
    body.touches("v")
    array = body.guest(address)
    loop, end, index, following = (f"{body.name}.{name}" for name in ("loop", "end", "index", "next"))
    body.emit(f"br label %{loop}.enter\n{loop}.enter:\nbr label %{loop}\n{loop}:")
    body.emit(f"%{index} = phi i64 [ 0, %{loop}.enter ], [ %{following}, %{loop}.more ]")
    offset = body.make(f"mul i64 %{index}, {PAIR}")
    source = body.make(f"getelementptr i8, ptr {array}, i64 {offset}")
    target = body.make(f"getelementptr i8, ptr %pairs, i64 {offset}")
    start = body.make(f"load volatile i64, ptr {source}, align 1")
    source = body.make(f"getelementptr i8, ptr {source}, i64 8")
    size = body.make(f"load volatile i64, ptr {source}, align 1")
    body.emit(f"store i64 {_data(body, start, size)}, ptr {target}, align 8")
    target = body.make(f"getelementptr i8, ptr {target}, i64 8")
    body.emit(f"store i64 {size}, ptr {target}, align 8")
    body.emit(f"%{following} = add i64 %{index}, 1")
    more = body.make(f"icmp ult i64 %{following}, {count}")
    body.emit(f"br i1 {more}, label %{loop}.more, label %{end}\n{loop}.more:\nbr label %{loop}\n{end}:")
    return body.make("ptrtoint ptr %pairs to i64")


# Calls that are more than the host's.


def _tell_time(body: Body, clock: str, address: str, divisor: int) -> None:
    """Store what a clock shows: seconds, and nanoseconds divided by something."""
    body.within(address, PAIR)
    function = body.make("load ptr, ptr @clock, align 8")
    status = body.make(f"call i32 {function}(i32 {clock}, ptr %pairs)")
    body.check(body.make(f"icmp eq i32 {status}, 0"))
    seconds = body.make("load i64, ptr %pairs, align 8")
    second = body.make("getelementptr i8, ptr %pairs, i64 8")
    nanoseconds = body.make(f"load i64, ptr {second}, align 8")
    rest = body.make(f"udiv i64 {nanoseconds}, {divisor}")
    body.touches("t")
    target = body.guest(address)
    body.emit(f"store volatile i64 {seconds}, ptr {target}, align 1")
    target = body.make(f"getelementptr i8, ptr {target}, i64 8")
    body.emit(f"store volatile i64 {rest}, ptr {target}, align 1")
    body.done("0")


def _clock_gettime(body: Body) -> None:
    clock = body.make(f"trunc i64 {body.argument(0)} to i32")
    _tell_time(body, clock, body.argument(1), 1)


def _gettimeofday(body: Body) -> None:
    """Without a time zone; NULL is within guest memory and faults."""
    body.check(body.make(f"icmp eq i64 {body.argument(1)}, 0"))
    _tell_time(body, str(CLOCK_REALTIME), body.argument(0), 1000)


def _futex(body: Body) -> None:
    """Those that only threads of the process share: a wake, and a wait, but for one that ends after a duration.

    That would begin anew when the call is made again; a point in time stays.
    """
    address, operation, value = (body.argument(index) for index in range(3))
    body.within(address, 4)
    odd = body.make(f"and i64 {address}, 3")
    body.check(body.make(f"icmp eq i64 {odd}, 0"))
    body.touches("f")
    pointer = body.guest(address)
    current = body.make(f"load volatile i32, ptr {pointer}, align 4")
    command = body.make(f"trunc i64 {operation} to i32")
    waits = " ".join(f"i32 {wait}, label %futex.wait" for wait in FUTEX_WAITS)
    body.emit(f"switch i32 {command}, label %slow [ i32 {FUTEX_WAKE}, label %futex.wake {waits} ]\nfutex.wake:")
    body.done(_to_host(body, "futex", (body.host_address(address), str(FUTEX_WAKE), value)))
    body.emit("futex.wait:")
    expected = body.make(f"trunc i64 {value} to i32")
    same = body.make(f"icmp eq i32 {current}, {expected}")
    body.emit(f"br i1 {same}, label %futex.same, label %futex.other\nfutex.other:")
    body.done(str(-EAGAIN))
    body.emit("futex.same:")
    timeout, bits = body.argument(3), body.argument(5)
    for_ever = body.make(f"icmp eq i64 {timeout}, 0")
    until = body.make(f"icmp ne i32 {command}, {FUTEX_WAIT}")
    body.check(body.make(f"or i1 {for_ever}, {until}"))
    body.within(timeout, PAIR)
    limit = body.make(f"select i1 {for_ever}, i64 0, i64 {body.host_address(timeout)}")
    _may_wait(body, "futex", (body.host_address(address), operation, value, limit, "0", bits))


SPECIAL: dict[str, Callable[[Body], None]] = {
    "clock_gettime": _clock_gettime,
    "gettimeofday": _gettimeofday,
    "futex": _futex,
}
