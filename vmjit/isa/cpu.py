"""What the semantics of an instruction may do to the machine: the tracing interface.

An instruction is traced by calling its semantics with a `Cpu` and the fields. Fields are Python ints (a region: all
folds to constants) or `Bits` read from the operand word (an interpreter handler), so register and immediate fields
must not steer Python; only structural fields may. `goto` decides what a guest address to go on at becomes.
"""

from typing import Any

from vmjit.ir.block import Block, Value
from vmjit.ir.emit import Emitter
from vmjit.ir.layout import Layout, RegisterFile
from vmjit.isa.bits import Bits, Operandlike


class Registers:
    """One register file as semantics see it: `cpu.x[rd] = cpu.x[rs1] + imm`."""

    __slots__ = ("cpu", "file")

    def __init__(self, cpu: "Cpu", file: RegisterFile) -> None:
        self.cpu = cpu
        self.file = file

    def __getitem__(self, number: Operandlike) -> Bits:
        cpu, file = self.cpu, self.file
        if isinstance(number, Bits):
            return cpu.wrap(cpu.emitter.emit("get_at", "i64", number.value, attr=file.name))
        if number == file.zero:
            return cpu.const(0)
        return Bits(cpu.emitter, cpu.emitter.get(f"{file.name}{number}"))

    def __setitem__(self, number: Operandlike, value: Operandlike) -> None:
        cpu, file = self.cpu, self.file
        operand = value.value if isinstance(value, Bits) else cpu.const(value).value
        if operand.type != "i64":
            raise TypeError(f"a register holds 64 bits, not {operand.type}; use sext or zext")
        if isinstance(number, Bits):
            cpu.emitter.emit("set_at", None, number.value, operand, attr=file.name)
        elif number != file.zero:
            cpu.emitter.set(f"{file.name}{number}", operand)


class Cpu:
    """The machine while one instruction is traced; register files are attributes named as in the layout."""

    def __init__(self, emitter: Emitter, layout: Layout) -> None:
        self.emitter = emitter
        self.layout = layout
        self.pc: Bits
        self.size = 0  # bytes of the instruction being traced
        self.ended = False
        for file in layout.files:
            setattr(self, file.name, Registers(self, file))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"no register file or operation {name!r}; scalar registers go through read() and write()")

    # values
    def wrap(self, value: Value) -> Bits:
        return Bits(self.emitter, value)

    def const(self, value: int, width: int = 64) -> Bits:
        return self.wrap(self.emitter.const(f"i{width}", value))

    def bits(self, value: Operandlike) -> Bits:
        """`value` as 64 traced bits, whether it is known or not."""
        return value if isinstance(value, Bits) else self.const(value)

    def select(self, condition: Bits, then: Operandlike, other: Operandlike) -> Bits:
        if not isinstance(then, Bits):
            then = other.like(then) if isinstance(other, Bits) else self.const(then)
        if not isinstance(other, Bits):
            other = then.like(other)
        return self.wrap(self.emitter.emit("select", then.type, condition.value, then.value, other.value))

    @property
    def next_pc(self) -> Bits:
        return self.pc + self.size

    # scalar registers
    def read(self, register: str) -> Bits:
        return self.wrap(self.emitter.get(register))

    def write(self, register: str, value: Operandlike) -> None:
        self.emitter.set(register, self.bits(value).value)

    # memory
    def load(self, address: Bits, width: int) -> Bits:
        return self.wrap(self.emitter.emit("load", f"i{width}", address.value))

    def store(self, address: Bits, value: Bits) -> None:
        self.emitter.emit("store", None, address.value, value.value)

    def atomic_load(self, address: Bits, width: int, order: str) -> Bits:
        return self.wrap(self.emitter.emit("atomic_load", f"i{width}", address.value, attr=order))

    def atomic_rmw(self, op: str, address: Bits, value: Bits, order: str) -> Bits:
        """The old value; memory becomes op(old, value) in one step."""
        return self.wrap(self.emitter.emit(f"atomic_{op}", value.type, address.value, value.value, attr=order))

    def compare_exchange(self, address: Bits, expected: Bits, new: Bits, order: str) -> Bits:
        """Whether memory held `expected` and became `new`."""
        args = (address.value, expected.value, new.value)
        return self.wrap(self.emitter.emit("compare_exchange", "i1", *args, attr=order))

    def fence(self, order: str) -> None:
        self.emitter.emit("fence", None, attr=order)

    def pause(self) -> None:
        self.emitter.emit("pause", None)

    # floating-point environment and time
    def host_flags(self) -> Bits:
        return self.wrap(self.emitter.emit("host_flags", "i64"))

    def clear_host_flags(self) -> None:
        self.emitter.emit("clear_host_flags", None)

    def set_rounding(self, mode: Bits) -> None:
        self.emitter.emit("set_rounding", None, mode.value)

    def clock(self) -> Bits:
        return self.wrap(self.emitter.emit("clock", "i64"))

    # control flow
    def goto(self, target: Bits, kind: str) -> Block:
        """The block that goes on at a guest address; a fresh one here, found among known blocks in a region."""
        block = self.emitter.region.new_block()
        here, self.emitter.block = self.emitter.block, block
        self.emitter.chain(target.value, kind)
        self.emitter.block = here
        return block

    def end_with(self, target: Bits, kind: str) -> None:
        """End the current block by going on at `target`."""
        self.emitter.chain(target.value, kind)
        self.ended = True

    def branch_if(self, condition: Bits, target: Bits) -> None:
        """Go on at `target` if the condition holds, else at the next instruction."""
        self.emitter.branch(condition.value, self.goto(target, "jump"), self.goto(self.next_pc, "fall"))
        self.ended = True

    def jump(self, target: Bits, kind: str = "jump") -> None:
        """Go on at `target`; `kind` is one of ops.CHAINS."""
        self.end_with(target, kind)

    def exit(self, reason: str, pc: Bits | None = None, argument: Operandlike = 0) -> None:
        """Return to the host, which goes on at `pc` (the next instruction)."""
        self.emitter.exit(reason, (self.next_pc if pc is None else pc).value, self.bits(argument).value)
        self.ended = True

    def trap(self, reason: str, argument: Operandlike = 0) -> None:
        """Return to the host with `pc` on this very instruction."""
        self.exit(reason, self.pc, argument)

    def trap_if(self, condition: Bits, reason: str, argument: Operandlike = 0) -> None:
        """Trap if the condition holds, else go on with this instruction."""
        region, emitter = self.emitter.region, self.emitter
        trapped, resumed = region.new_block(), region.new_block()
        argument = self.bits(argument)
        emitter.branch(condition.value, trapped, resumed)
        emitter.block = trapped
        emitter.exit(reason, self.pc.value, argument.value)
        emitter.block = resumed

    def exit_if(self, condition: Bits, reason: str, argument: Operandlike = 0) -> None:
        """Return to the host after this instruction if the condition holds, else go on at the next one."""
        block = self.emitter.region.new_block()
        argument = self.bits(argument)
        self.emitter.branch(condition.value, block, self.goto(self.next_pc, "fall"))
        self.emitter.block = block
        self.exit(reason, None, argument)
