"""The emitter: appends operations to a block, checks types, folds constants on the way.

Folding here is what tracing needs to turn instruction fields into constants; passes/fold.py does the rest.
"""

from vmjit.ir.block import CONST, Block, Edge, Region, Terminator, Value
from vmjit.ir.interpret import MEANING, evaluate
from vmjit.ir.ops import AA, OPS, Op
from vmjit.ir.types import FLOATS, MASK, WIDTH

_GET, _SET = OPS["get"], OPS["set"]
_FOLDABLE = frozenset(OPS[name] for name in MEANING)
_UNMIXED = frozenset(op for op in OPS.values() if op.operands == AA)
_FAULTING = frozenset(op for op in OPS.values() if op.reads_memory or op.writes_memory)


class Emitter:
    """Appends to `block`; `pc` is stamped on operations that may fault."""

    def __init__(self, region: Region, block: Block) -> None:
        self.region = region
        self.block = block
        self.pc: int | None = None

    def const(self, type: str, value: int) -> Value:
        """A constant; `value` may be negative."""
        constant = Value(CONST, type, (), value & MASK[type])
        self.block.ops.append(constant)
        return constant

    def emit(self, name: str, type: str | None, *args: Value, attr: int | str | None = None) -> Value:
        """Append operation `name` with result type `type` (None when it has no result)."""
        op = OPS[name]
        if op in _UNMIXED and args[0].type != args[1].type:
            left, right = args[0].type, args[1].type
            raise TypeError(f"{name}: {left} and {right} do not mix; use sext, zext or trunc on one of them")
        if op in _FOLDABLE:
            known = self._folded(name, type, args) or self._identity(name, args)
            if known is not None:
                return known
        if op not in _FAULTING:
            return self._append(Value(op, type, args, attr))
        self.before_access(op)
        return self._append(Value(op, type, args, attr, self.pc))

    def get(self, register: str) -> Value:
        """The value of a guest register."""
        return self._append(Value(_GET, "i64", (), register))

    def set(self, register: str, value: Value) -> None:
        self._append(Value(_SET, None, (value,), register))

    def before_access(self, op: Op) -> None:
        """For emitters that have something to do before memory is accessed."""

    def _append(self, value: Value) -> Value:
        self.block.ops.append(value)
        return value

    def _folded(self, name: str, type: str | None, args: tuple[Value, ...]) -> Value | None:
        """The result if all operands are constants."""
        for arg in args:
            if arg.op is not CONST:
                return None
        assert type is not None
        constants = tuple([arg.attr for arg in args])
        steering = args[1].type if name == "select" else args[0].type
        return self.const(type, evaluate(name, type, steering, constants))  # type: ignore[arg-type]

    @staticmethod
    def _identity(name: str, args: tuple[Value, ...]) -> Value | None:
        """x + 0 and the like, which constant fields (offset 0, shift 0) produce all the time."""
        if len(args) == 2:
            left, right = args
            if right.op is CONST and right.attr == 0 and name in _ZERO_RIGHT:
                return left
            if left.op is CONST and left.attr == 0 and name in _ZERO_LEFT:
                return right
        return None

    def convert(self, name: str, type: str, value: Value) -> Value:
        """sext, zext, trunc, bitcast; nothing when the type is already right."""
        source = value.type
        assert source is not None
        if source == type:
            return value
        widens = WIDTH[type] > WIDTH[source]
        if (name in ("sext", "zext") and not widens) or (name == "trunc" and widens):
            raise TypeError(f"{name} from {source} to {type}; use {'trunc' if not widens else 'sext or zext'}")
        if name == "bitcast" and (WIDTH[type] != WIDTH[source] or (type in FLOATS) == (source in FLOATS)):
            raise TypeError(f"bitcast from {source} to {type}: only between an integer and a float of one width")
        return self.emit(name, type, value)

    def terminate(self, terminator: Terminator) -> None:
        assert self.block.terminator is None, f"block {self.block.name} ends twice"
        self.block.terminator = terminator

    def jump(self, block: Block) -> None:
        self.terminate(Terminator("jump", edges=(Edge(block),)))

    def branch(self, condition: Value, then: Block, other: Block) -> None:
        self.terminate(Terminator("branch", (condition,), (Edge(then), Edge(other))))

    def chain(self, target: Value, kind: str) -> None:
        self.terminate(Terminator("chain", (target,), attr=kind))

    def exit(self, reason: str, pc: Value, argument: Value) -> None:
        self.terminate(Terminator("exit", (pc, argument), attr=reason))


_ZERO_RIGHT = frozenset(("add", "sub", "or", "xor", "shl", "lshr", "ashr", "rotl", "rotr"))
_ZERO_LEFT = frozenset(("add", "or", "xor"))
