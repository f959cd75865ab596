"""What only some ways out of a block need is computed on these.

Guest code leaves values in registers that nobody will read, but whoever looks at the registers when the region is left
must find them: an exit needs all that was written last. A value moves to where it is used, with all that only it
needs, unless that is its own block or executed more often, or too many places.
"""

from vmjit.ir.block import CONST, PARAM, Block, Edge, Region, Terminator, Value
from vmjit.ir.ops import OPS
from vmjit.passes.loops import Loops, loops_of

MOVABLE = frozenset(op for op in OPS.values() if op.is_pure and op is not CONST and op is not PARAM)
MOST_PLACES = 4  # that a value is computed in rather than in one

Place = Block | Edge  # where a block begins, or on the way along an edge
Values = dict[Value, Value]  # value -> its copy


def run(region: Region) -> Region:
    """Needs a region without dead values: they would hold back what they use."""
    home = {value: block for block in region.blocks for value in block.ops if value.op in MOVABLE}
    if home:
        _Sinking(region, home).run()
    return region


class _Sinking:
    def __init__(self, region: Region, home: dict[Value, Block]) -> None:
        self.region = region
        self.home = home  # of the values that may move
        self.places: dict[Value, set[Place]] = {}  # where others use them
        self.loops: dict[Block, Loops] = loops_of(region)
        self.around: dict[Place, Loops] = dict(self.loops.items())

    def run(self) -> None:
        self.find_places()
        self.keep()
        moving = set(self.home.values())
        for block in moving:
            block.ops = [value for value in block.ops if value not in self.home]
        wanted: dict[Place, list[Value]] = {}
        for value in self.home:
            for place in self.places.get(value, ()):
                wanted.setdefault(place, []).append(value)
        for place in sorted(wanted, key=lambda place: isinstance(place, Edge)):  # what blocks need their edges pass on
            self.compute(place, wanted[place])

    def find_places(self) -> None:
        """Uses by operations that may move themselves are left out."""
        home, places = self.home, self.places
        for block in self.region.blocks:
            ways = block.end.edges
            used = {arg for value in block.ops if value not in home for arg in value.args if arg in home}
            used.update(arg for arg in block.end.args if arg in home)
            if len(ways) == 1:
                used.update(arg for arg in ways[0].args if arg in home)
                ways = ()
            for value in used:
                places.setdefault(value, set()).add(block)
            for edge in ways:
                passed = {arg for arg in edge.args if arg in home and arg not in used}
                if passed:
                    self.around[edge] = self.loops[block] & self.loops[edge.block]
                    for value in passed:
                        places.setdefault(value, set()).add(edge)

    def keep(self) -> None:
        """Take from the values that may move those that had better stay, and then what these need."""
        work = list(self.home)
        while work:
            value = work.pop()
            block = self.home.get(value)
            if block is not None and not self.may_move(block, self.places.get(value, set())):
                del self.home[value]
                for arg in value.args:
                    if arg in self.home:
                        self.places.setdefault(arg, set()).add(block)
                        work.append(arg)

    def may_move(self, block: Block, places: set[Place]) -> bool:
        if block in places or len(places) > MOST_PLACES:
            return False
        return all(self.is_rarer(place, block) for place in places)

    def is_rarer(self, place: Place, block: Block) -> bool:
        """Whether a place, which the block dominates, is executed less often; a way back to a loop's start is not."""
        around, loops = self.around[place], self.loops[block]
        return around < loops or (around == loops and isinstance(place, Block))

    def compute(self, place: Place, values: list[Value]) -> None:
        """All values that a place needs."""
        ops: list[Value] = []
        made: Values = {}
        for value in values:
            self.copy(value, made, ops)
        if isinstance(place, Edge):
            block = self.region.new_block()
            block.ops = ops
            block.terminator = Terminator("jump", (), (Edge(place.block, _replace(place.args, made)),))
            place.block, place.args = block, ()
            return
        place.ops = [*ops, *place.ops]
        for value in place.ops:
            value.args = _replace(value.args, made)
        place.end.args = _replace(place.end.args, made)
        for edge in place.end.edges:
            edge.args = _replace(edge.args, made)

    def copy(self, value: Value, made: Values, ops: list[Value]) -> Value:
        """A value again, with all that it needs and that moves too."""
        if value not in self.home:
            return value
        found = made.get(value)
        if found is None:
            args = tuple([self.copy(arg, made, ops) for arg in value.args])
            found = made[value] = Value(value.op, value.type, args, value.attr)
            ops.append(found)
        return found


def _replace(args: tuple[Value, ...], made: Values) -> tuple[Value, ...]:
    for arg in args:
        if arg in made:
            return tuple([made.get(arg, arg) for arg in args])
    return args
