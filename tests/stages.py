"""What golden files may be about: one function for each folder of tests/golden, from header and text to a text."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module

from machines import (
    CODE,
    PAGE,
    assemble,
    code_at,
    guest_named,
    handlers_of,
    instructions_of,
    interpreter_of,
    memory_with,
)

from vmjit.codegen.lower import Handler, lower_handler, lower_region
from vmjit.codegen.stencil import Hole, lower_stencil, module, ways
from vmjit.engine.cache import Region as Compiled
from vmjit.engine.compile import LLVM_PASSES
from vmjit.engine.formation import Former, Plan
from vmjit.engine.interpreter import places_of, trace_handler
from vmjit.engine.native import Native
from vmjit.engine.reference import ReferenceMemory
from vmjit.engine.regions import SYMBOL, Regions
from vmjit.engine.state import FOREVER
from vmjit.engine.trace import Tracer
from vmjit.engine.translate import translate
from vmjit.guest import Guest
from vmjit.ir.block import Region
from vmjit.ir.exits import ExitReason
from vmjit.ir.interpret import compile_region
from vmjit.ir.parser import parse_region
from vmjit.ir.verify import verify, verify_or_raise
from vmjit.jit.blob import Blob
from vmjit.jit.compiler import Compiler
from vmjit.memory.address_space import AddressSpace
from vmjit.passes import access
from vmjit.passes.pipeline import PIPELINE

Header = dict[str, str]  # values of a key that stands there several times are lines
Stage = Callable[[Header, str], str]
MASK = (1 << 64) - 1
BEHIND_ZEROS = {"toy": 2, "riscv64": 0}  # zeros halt, with pc so far behind them


def text(header: Header, before: str) -> str:
    """text/: parse, print."""
    return str(parse_region(before))


def problems(header: Header, before: str) -> str:
    """verify/: parse; the problems found, one line each."""
    return "".join(f"{problem}\n" for problem in verify(parse_region(before)))


def passes(header: Header, before: str) -> str:
    """passes/: parse, run the passes that the header names, `all` for the pipeline; the result is sound."""
    region = parse_region(before)
    names = header["passes"].split(", ")
    run = PIPELINE if names == ["all"] else [(name, import_module(f"vmjit.passes.{name}").run) for name in names]
    for name, apply in run:
        region = apply(region)
        verify_or_raise(region, after=name)
    return str(region)


def decoded(header: Header, before: str) -> str:
    """decode/: bytes in hex; each instruction, and behind it the one it stands for if that is another."""
    table, data = guest_named(header["guest"]).decode_table, bytes.fromhex(before)
    lines, pc = [], 0
    while pc < len(data):
        found = table.decode(lambda at, size: int.from_bytes(data[at : at + size], "little"), pc)
        if isinstance(found, int):
            lines.append(f"{pc:#x}  {found:#x} is no instruction")
            pc += table.size(found) or table.parcel
            continue
        base, fields = found.expand()
        stands_for = "" if base is found.instruction else f"  ; {base.disassemble(fields, pc)}"
        lines.append(f"{pc:#x}  {found.text(pc)}{stands_for}")
        pc += found.size
    return "".join(f"{line}\n" for line in lines)


def planned(header: Header, before: str) -> Plan:
    """The plan of the region at the first instruction of an assembly text; `; cold:` lists addresses that never ran."""
    guest = guest_named(header["guest"])
    code = assembled(header, before)
    cold = {int(address, 0) for address in header.get("cold", "").split()}
    plan = Former(guest.decode_table, Tracer(guest.layout)).form(CODE, code_at(code, cold=cold or None))
    assert plan is not None, "the first instruction cannot be compiled"
    return plan


def assembled(header: Header, before: str) -> bytes:
    return assemble(before, CODE, header["guest"])


def translated(header: Header, before: str) -> str:
    """translate/: assembly from 0x10000 on; the IR of the region there, before any pass."""
    layout = guest_named(header["guest"]).layout
    region = translate(planned(header, before), layout, Tracer(layout))
    verify_or_raise(region, after="translate")
    return str(region)


def handler(header: Header, before: str) -> str:
    """handler/: an instruction in assembly; the IR of its interpreter handler, then the LLVM text."""
    region, its = handled(header, before)
    shown = str(region)
    lowered = lower_handler(region, guest_named(header["guest"]).layout, "handler", its)
    Compiler().compile(lowered, LLVM_PASSES, verify=True)
    return f"{shown}\n{lowered}"


def stencil(header: Header, before: str) -> str:
    """stencil/: an instruction in assembly; the LLVM text of its stencils."""
    layout = guest_named(header["guest"]).layout
    region, its = handled(header, before)
    texts: list[str] = []
    holes: set[Hole] = set()
    for way in ways(region):
        lowered, found = lower_stencil(region, layout, way or "plain", its, counts=False, way=way)
        texts.append(lowered)
        holes |= found
    Compiler().compile_open(module(texts, holes, layout))
    return "\n".join(texts)


def handled(header: Header, before: str) -> tuple[Region, Handler]:
    """What an instruction's handler is made from."""
    guest = guest_named(header["guest"])
    word = int.from_bytes(instructions_of(header["guest"]).assemble(before.strip(), CODE), "little")
    found = guest.decode_table.decode(lambda at, size: word, CODE)
    assert not isinstance(found, int)
    base, fields = found.expand()
    structural = {name: value for name, value in fields.items() if base.operands[name].structural is not None}
    region = access.run(trace_handler(base, structural, found.size, guest.layout))
    verify_or_raise(region, after="trace_handler")
    return region, Handler(places_of(base), found.size)


def lowered(header: Header, before: str) -> str:
    """lower/: IR; the LLVM text, which LLVM accepts, without the metadata that is the same for all."""
    found = lower_region(parse_region(before), guest_named(header["guest"]).layout)
    Compiler().compile(found, LLVM_PASSES, verify=True)
    return re.sub(r"^(!\d |!llvm).*\n", "", found, flags=re.MULTILINE)


def run(header: Header, before: str) -> str:
    """run/: IR or assembly; `; run: before => after` holds by the IR, natively, and for assembly in tier 0.

    `before` and `after` are registers and 64-bit words of memory: r1=5 [0x20008]=-1.
    """
    guest = guest_named(header["guest"])
    if before.startswith("region "):
        region, code = parse_region(before), b""
    else:
        code = assembled(header, before)
        region = translate(planned(header, before), guest.layout, Tracer(guest.layout))
        for _, apply in PIPELINE:
            apply(region)
    native = _Natively(guest, region, code)
    for line in header["run"].splitlines():
        given, wanted = (dict(re.findall(r"(\S+)=(\S+)", side)) for side in line.split("=>"))
        with memory_of(code, given) as memory:
            _by_meaning(guest, region, memory, given, wanted, line)
        with memory_of(code, given) as memory:
            native.check(memory, given, wanted, line, compiled=True)
        if code:
            with memory_of(code, given) as memory:
                native.check(memory, given, wanted, line, compiled=False)
    return before


Side = dict[str, str]


@contextmanager
def memory_of(code: bytes, given: Side) -> Iterator[AddressSpace]:
    with memory_with(code) as memory:
        for name, value in given.items():
            if name.startswith("["):
                memory.write(int(name[1:-1], 0), (int(value, 0) & MASK).to_bytes(8, "little"))
        yield memory


def _by_meaning(guest: Guest, region: Region, memory: AddressSpace, given: Side, wanted: Side, line: str) -> None:
    words = memoryview(bytearray(4096)).cast("Q")
    prepare(guest, words, given)
    compile_region(region, guest.layout)(words, ReferenceMemory(memory), int(given.get("pc", f"{region.pc}"), 0))
    compare(guest, words, memory, wanted, f"by meaning: {line}")


def prepare(guest: Guest, words: memoryview, given: Side) -> None:
    words[guest.layout.word("limit")] = FOREVER
    for name, value in given.items():
        if not name.startswith("["):
            words[guest.layout.word(name)] = int(value, 0) & MASK


def compare(guest: Guest, words: memoryview, memory: AddressSpace, wanted: Side, where: str) -> None:
    for name, value in wanted.items():
        at = int(name[1:-1], 0) if name.startswith("[") else None
        found = words[guest.layout.word(name)] if at is None else int.from_bytes(memory.read(at, 8), "little")
        assert found == int(value, 0) & MASK, f"{where}: {name} is {found:#x}"


class _Natively:
    """Runs the code of a region, or the interpreter's."""

    def __init__(self, guest: Guest, region: Region, code: bytes) -> None:
        self.guest, self.region = guest, region
        text = lower_region(region, guest.layout, SYMBOL)
        self.blob, _ = Compiler().compile(text, LLVM_PASSES, verify=True)

    def check(self, memory: AddressSpace, given: Side, wanted: Side, line: str, *, compiled: bool) -> None:
        guest, region = self.guest, self.region
        native = Native(guest.layout, memory, Blob.from_bytes(interpreter_of(guest.name)))
        native.allow_decoding(CODE // PAGE)
        if compiled:
            entries = tuple(region.entries) or (region.pc,)
            Regions(native).place(region.pc, Compiled(entries, ((region.pc, region.pc + 2),), (), "", 1, self.blob))
        native.words[guest.layout.word("pc")] = region.pc
        prepare(guest, native.words, given)
        pc, reason, argument = [guest.layout.word(name) for name in ("pc", "reason", "arg")]
        native.enter()
        while native.words[reason] == ExitReason.MISSING:
            group = native.group_of(native.words[argument])
            native.place_handlers(Blob.from_bytes(handlers_of(guest.name, group)))
            native.set_code(native.words[pc], 0)
            native.enter()
        try:
            where = "natively" if compiled else "interpreted"
            compare(guest, native.words, memory, wanted, f"{where}: {line}")
        finally:
            native.close()


STAGES: dict[str, Stage] = {
    "text": text,
    "verify": problems,
    "passes": passes,
    "decode": decoded,
    "translate": translated,
    "handler": handler,
    "stencil": stencil,
    "lower": lowered,
    "run": run,
}
