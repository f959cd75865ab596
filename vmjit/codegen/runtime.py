"""The native code around guest code, as LLVM text: entering it, leaving it by a fault, counting jumps.

`enter(state)` is what the host calls. It notes the frame pointer and `launch` the stack pointer, so that `fault`, the
host's signal handler, can make the thread go on in `recover`, which returns from `launch` as if guest code had. Needs
nothing from outside but the words of the state; `previous`, `signal`, `key` and the pointers to functions for values of
threads are filled in by whoever installs the handler, and `clock_gettime`. Several threads may be in it, with a state
each.
"""

from vmjit.codegen import host, profile
from vmjit.codegen.interrupts import CURRENT_STATE, interrupts
from vmjit.codegen.lower import CONVENTION, PARAMETERS
from vmjit.ir.exits import ExitReason
from vmjit.ir.layout import (
    ADDRESS_BITS,
    SLOT_OPERANDS,
    SLOT_SCALE,
    Layout,
)
from vmjit.ir.ops import TICKS

GUARD = 1 << 32  # bytes on both sides of guest memory that belong to it and fault
SLOT_SHIFT = SLOT_SCALE.bit_length() - 1
CLOCK_REALTIME = 0
NANOSECONDS = 1_000_000_000  # in a second
ARGUMENTS = "ptr %state, ptr %memory, ptr %slots, ptr %code, i64 %instret"


def word(layout: Layout, result: str, name: str, type: str = "i64", *, volatile: bool = False) -> str:
    """Text that loads a word of the state; volatile: other threads write it."""
    return f"""\
{result}.p = getelementptr i8, ptr %state, i64 {layout.offsets[name]}
{result} = load {"volatile " if volatile else ""}{type}, ptr {result}.p, align 8"""


def put(layout: Layout, name: str, type: str, value: str, tag: str) -> str:
    """Text that stores a word of the state; `tag` makes the pointer's name unique."""
    return f"""\
%{tag}.{name}.p = getelementptr i8, ptr %state, i64 {layout.offsets[name]}
store volatile {type} {value}, ptr %{tag}.{name}.p, align 8"""


def leave(layout: Layout, reason: ExitReason, pc: str, argument: str, tag: str) -> str:
    """Text that returns to the host."""
    return "\n".join(
        (
            put(layout, "pc", "i64", pc, tag),
            put(layout, "reason", "i64", str(int(reason)), tag),
            put(layout, "arg", "i64", argument, tag),
            put(layout, "instret", "i64", "%instret", tag),
            "ret void",
        )
    )


def tail(slot: str, tag: str) -> str:
    """Text that goes on at a slot."""
    return f"""\
%{tag}.o = load volatile i64, ptr {slot}, align 8
%{tag}.t = getelementptr i8, ptr %code, i64 %{tag}.o
musttail call {CONVENTION} void %{tag}.t(ptr {slot}, {ARGUMENTS})
ret void"""


def pc_of_slot(result: str) -> str:
    """Text that computes the guest address of %slot."""
    return f"""\
{result}.a = ptrtoint ptr %slot to i64
{result}.b = ptrtoint ptr %slots to i64
{result}.c = sub i64 {result}.a, {result}.b
{result} = lshr exact i64 {result}.c, {SLOT_SHIFT}"""


def runtime(layout: Layout) -> str:
    """All functions but the decode stub and the handlers."""
    return "\n".join(
        (
            _enter(layout),
            _launch(layout),
            _fault(layout),
            interrupts(layout),
            _exchange(32),
            _exchange(64),
            _clock(),
            _cold(layout),
            _leave(layout),
            _syscall(layout),
            _illegal(layout),
            _emulate(layout),
            _missing(layout),
        )
    )


def _enter(layout: Layout) -> str:
    floating = layout.flags is not None and layout.rounding is not None
    begin, end = "", ""
    if floating:
        assert layout.flags is not None and layout.rounding is not None
        begin = f"""\
%scratch = getelementptr i8, ptr %state, i64 {layout.offsets["scratch"]}
{host.read_control("%host", "%scratch")}
{word(layout, "%frm", layout.rounding)}
%known = icmp ult i64 %frm, 4
%mode = select i1 %known, i64 %frm, i64 0
{host.control_with_rounding("%guest", str(host.MXCSR_DEFAULT), "%mode")}
{host.write_control("%guest", "%scratch")}"""
        end = f"""\
{host.read_control("%left", "%scratch")}
{host.flags_from_control("%raised", "%left")}
{word(layout, "%before", layout.flags)}
%after = or i64 %before, %raised
store i64 %after, ptr %before.p, align 8
{host.write_control("%host", "%scratch")}"""
    # The exchange is a barrier: who writes 0 to `limit` and then finds that nothing runs knows that nothing will.
    return f"""
@key = dso_local global i32 0
@pthread_setspecific = dso_local global ptr null
@pthread_getspecific = dso_local global ptr null
define void @enter(ptr %state) nounwind {{
{begin}
{word(layout, "%memory", "memory", "ptr")}
{word(layout, "%slots", "slots", "ptr")}
{word(layout, "%code", "code", "ptr")}
{word(layout, "%instret", "instret")}
{word(layout, "%pc", "pc")}
%offset = shl i64 %pc, {SLOT_SHIFT}
%slot = getelementptr i8, ptr %slots, i64 %offset
%frame = call ptr @llvm.frameaddress.p0(i32 0)
{put(layout, "host_frame", "ptr", "%frame", "e")}
%running.p = getelementptr i8, ptr %state, i64 {layout.offsets["running"]}
%ran = atomicrmw volatile xchg ptr %running.p, i64 1 seq_cst, align 8
{word(layout, "%limit", "limit", volatile=True)}
%held = icmp eq i64 %limit, 0
br i1 %held, label %stay, label %go
stay:
{put(layout, "reason", "i64", str(int(ExitReason.LIMIT)), "e")}
{put(layout, "arg", "i64", "0", "e")}
br label %end
go:
%key = load i32, ptr @key, align 4
%set = load ptr, ptr @pthread_setspecific, align 8
%set.error = call i32 %set(i32 %key, ptr %state)
call {CONVENTION} void @launch(ptr %slot, {ARGUMENTS})
br label %end
end:
{end}
{word(layout, "%reason", "reason", volatile=True)}
%faulted = icmp eq i64 %reason, {int(ExitReason.HOST_FAULT)}
%still = zext i1 %faulted to i64
store atomic volatile i64 %still, ptr %running.p release, align 8
ret void
}}"""


def _launch(layout: Layout) -> str:
    return f"""
define {CONVENTION} void @launch({PARAMETERS}) nounwind noinline {{
%sp = call ptr @llvm.addressofreturnaddress.p0()
{put(layout, "host_stack", "ptr", "%sp", "l")}
{tail("%slot", "go")}
}}
define dso_local {CONVENTION} void @recover() nounwind noinline {{
ret void
}}"""


def _fault(layout: Layout) -> str:
    """The signal handler for SIGSEGV and SIGBUS: a fault in guest memory returns to the host of the guest.

    One that was sent, which the code tells, is no fault. Any other goes where it would have gone without us: to the
    handler before, or to the default action, which meets the instruction again when this returns.
    """
    span = (1 << ADDRESS_BITS) + 2 * GUARD
    return f"""
@previous = dso_local global [128 x ptr] zeroinitializer
@signal = dso_local global ptr null
define void @fault(i32 %number, ptr %info, ptr %context) nounwind {{
%code.p = getelementptr i8, ptr %info, i64 {host.SIGNAL_CODE_OFFSET}
%code = load i32, ptr %code.p
%sent = icmp sle i32 %code, 0
br i1 %sent, label %outside, label %caused
outside:
call void @interrupt(i32 %number, ptr %info, ptr %context)
ret void
caused:
{CURRENT_STATE}
%idle = icmp eq ptr %state, null
br i1 %idle, label %foreign, label %known
known:
{word(layout, "%running", "running", volatile=True)}
%runs = icmp ne i64 %running, 0
br i1 %runs, label %ours, label %foreign
ours:
%address.p = getelementptr i8, ptr %info, i64 {host.FAULT_ADDRESS_OFFSET}
%address = load i64, ptr %address.p
{word(layout, "%memory", "memory")}
%distance = sub i64 %address, %memory
%above = add i64 %distance, {GUARD}
%within = icmp ult i64 %above, {span}
br i1 %within, label %guest, label %foreign
guest:
%pc.p = getelementptr i8, ptr %context, i64 {host.CONTEXT_PC_OFFSET}
%pc = load i64, ptr %pc.p
{put(layout, "fault_address", "i64", "%address", "f")}
{put(layout, "fault_code", "i64", "%pc", "f")}
{put(layout, "reason", "i64", str(int(ExitReason.HOST_FAULT)), "f")}
%number.w = zext i32 %number to i64
{put(layout, "arg", "i64", "%number.w", "f")}
{word(layout, "%stack", "host_stack")}
%sp.p = getelementptr i8, ptr %context, i64 {host.CONTEXT_STACK_OFFSET}
store i64 %stack, ptr %sp.p
{word(layout, "%frame", "host_frame")}
%fp.p = getelementptr i8, ptr %context, i64 {host.CONTEXT_FRAME_OFFSET}
store i64 %frame, ptr %fp.p
store ptr @recover, ptr %pc.p
ret void
foreign:
%index = sext i32 %number to i64
%previous.p = getelementptr ptr, ptr @previous, i64 %index
%previous = load ptr, ptr %previous.p
%action = ptrtoint ptr %previous to i64
%real = icmp ugt i64 %action, 1
br i1 %real, label %chain, label %default
chain:
call void %previous(i32 %number, ptr %info, ptr %context)
ret void
default:
%signal = load ptr, ptr @signal
%old = call ptr %signal(i32 %number, ptr null)
ret void
}}"""


def _exchange(width: int) -> str:
    """Compare and exchange for the host, whose Python has none: what was there."""
    return f"""
define i{width} @exchange{width}(ptr %at, i{width} %expected, i{width} %new) nounwind {{
%pair = cmpxchg ptr %at, i{width} %expected, i{width} %new seq_cst seq_cst, align {width // 8}
%old = extractvalue {{ i{width}, i1 }} %pair, 0
ret i{width} %old
}}"""


def _clock() -> str:
    """What the state's word `clock` leads to. Where `stopped` is not 0, it is that time: see engine/check.py."""
    return f"""
@clock_gettime = dso_local global ptr null
@stopped = dso_local global i64 0
define i64 @clock() nounwind {{
%pair = alloca [2 x i64], align 8
%stopped = load volatile i64, ptr @stopped, align 8
%runs = icmp eq i64 %stopped, 0
br i1 %runs, label %ask, label %stands
stands:
ret i64 %stopped
ask:
%get = load ptr, ptr @clock_gettime, align 8
%error = call i32 %get(i32 {CLOCK_REALTIME}, ptr %pair)
%seconds = load i64, ptr %pair, align 8
%second = getelementptr i64, ptr %pair, i64 1
%nanoseconds = load i64, ptr %second, align 8
%whole = mul i64 %seconds, {TICKS}
%part = udiv i64 %nanoseconds, {NANOSECONDS // TICKS}
%ticks = add i64 %whole, %part
ret i64 %ticks
}}"""


def _cold(layout: Layout) -> str:
    """A jump from a region to interpreted code: counted like one between interpreted instructions."""
    text, full = profile.count("%slot", "c")
    return f"""
define {CONVENTION} void @cold({PARAMETERS}) nounwind {{
{pc_of_slot("%pc")}
{text}
br i1 {full}, label %hot, label %go
hot:
{leave(layout, ExitReason.HOT, "%pc", "0", "h")}
go:
{tail("%slot", "g")}
}}"""


def _leave(layout: Layout) -> str:
    """The exits of regions: the reason comes in place of the arena."""
    return f"""
define {CONVENTION} void @leave({PARAMETERS}) nounwind {{
{pc_of_slot("%pc")}
%reason = ptrtoint ptr %code to i64
{put(layout, "pc", "i64", "%pc", "x")}
{put(layout, "reason", "i64", "%reason", "x")}
{put(layout, "arg", "i64", "0", "x")}
{put(layout, "instret", "i64", "%instret", "x")}
ret void
}}"""


def _syscall(layout: Layout) -> str:
    """Where `trap` leads unless native code makes system calls, see codegen/calls.py."""
    return f"""
define {CONVENTION} void @syscall({PARAMETERS}) nounwind {{
{pc_of_slot("%pc")}
{leave(layout, ExitReason.SYSCALL, "%pc", "0", "s")}
}}"""


def _illegal(layout: Layout) -> str:
    return f"""
define {CONVENTION} void @illegal({PARAMETERS}) nounwind {{
{pc_of_slot("%pc")}
%word.p = getelementptr i8, ptr %slot, i64 {SLOT_OPERANDS}
%word = load i64, ptr %word.p, align 8
{leave(layout, ExitReason.ILLEGAL, "%pc", "%word", "i")}
}}"""


def _missing(layout: Layout) -> str:
    """Serves instructions whose handlers are not there. `arg` is what the decode stub left, so it must come from it."""
    return f"""
define {CONVENTION} void @missing({PARAMETERS}) nounwind {{
{pc_of_slot("%pc")}
{word(layout, "%entry", "arg")}
{leave(layout, ExitReason.MISSING, "%pc", "%entry", "m")}
}}"""


def _emulate(layout: Layout) -> str:
    return f"""
define {CONVENTION} void @emulate({PARAMETERS}) nounwind {{
{pc_of_slot("%pc")}
{leave(layout, ExitReason.EMULATE, "%pc", "0", "e")}
}}"""
