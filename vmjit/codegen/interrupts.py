"""How signals of the host reach the guest, as LLVM text: a handler of one, and a way to make system calls that wait.

`interrupt(number, info, context)`, a signal handler, writes the signal into the state of the thread's hart, stops
guest code at its next jump by a limit of 0, and blocks all other signals until the host has taken this one: what else
comes stays with the kernel, which knows best what is queued, merged or discarded, and in which order.

`gate(state, number, six arguments)` makes a system call unless a signal waits to be taken; then it returns NOT_MADE. A
signal that arrives between the two, before the kernel has begun with the call, finds the pc in between, and lets the
thread go on as if it had been seen. So none is slept through, whatever the call is.
"""

from vmjit.codegen import host
from vmjit.ir.layout import SIGINFO_OFFSET, SIGINFO_SIZE, WORD, Layout

# Text that finds the state of the hart that the current host thread runs, or null.
CURRENT_STATE = """\
%key = load i32, ptr @key, align 4
%get = load ptr, ptr @pthread_getspecific, align 8
%state = call ptr %get(i32 %key)"""
NOT_MADE = -512  # no errno; the kernel's own ERESTARTSYS
# Signals that instructions cause stay unblocked: guest code goes on to its next jump, and may fault before. ILL TRAP
# BUS FPE SEGV.
CAUSED = 1 << 3 | 1 << 4 | 1 << 6 | 1 << 7 | 1 << 10
ALL_OTHERS = ~CAUSED


def interrupts(layout: Layout) -> str:
    """Both functions."""
    waiting, limit = layout.offsets["interrupt"], layout.offsets["limit"]
    copies = "\n".join(_copy_word(offset) for offset in range(0, SIGINFO_SIZE, WORD))
    return f"""
@gate_start = external dso_local global i8
@gate_end = external dso_local global i8
@gate_left = external dso_local global i8
define i64 @gate(ptr %state, i64, i64, i64, i64, i64, i64, i64) naked noinline nounwind {{
call void asm sideeffect "{host.gate(waiting, NOT_MADE)}", ""()
unreachable
}}
define void @interrupt(i32 %number, ptr %info, ptr %context) nounwind {{
{CURRENT_STATE}
%gone = icmp eq ptr %state, null
br i1 %gone, label %done, label %owned
owned:
%waiting.p = getelementptr i8, ptr %state, i64 {waiting}
%waiting = load volatile i64, ptr %waiting.p
%free = icmp eq i64 %waiting, 0
br i1 %free, label %take, label %done
take:
%to = getelementptr i8, ptr %state, i64 {SIGINFO_OFFSET}
{copies}
%number.w = zext i32 %number to i64
store volatile i64 %number.w, ptr %waiting.p
%limit.p = getelementptr i8, ptr %state, i64 {limit}
store volatile i64 0, ptr %limit.p
%mask.p = getelementptr i8, ptr %context, i64 {host.CONTEXT_MASK_OFFSET}
store i64 {ALL_OTHERS}, ptr %mask.p
%pc.p = getelementptr i8, ptr %context, i64 {host.CONTEXT_PC_OFFSET}
%pc = load i64, ptr %pc.p
%within = sub i64 %pc, ptrtoint (ptr @gate_start to i64)
%size = sub i64 ptrtoint (ptr @gate_end to i64), ptrtoint (ptr @gate_start to i64)
%early = icmp ult i64 %within, %size
br i1 %early, label %leave, label %done
leave:
store ptr @gate_left, ptr %pc.p
ret void
done:
ret void
}}"""


def _copy_word(offset: int) -> str:
    return f"""\
%from.{offset} = getelementptr i8, ptr %info, i64 {offset}
%word.{offset} = load i64, ptr %from.{offset}
%to.{offset} = getelementptr i8, ptr %to, i64 {offset}
store volatile i64 %word.{offset}, ptr %to.{offset}"""
