"""`vmjit doc`: tables printed from the code, so that they cannot be out of date."""

import argparse
from collections.abc import Iterator, Sequence

Rows = list[tuple[str, ...]]


def main(options: argparse.Namespace) -> int:
    print("\n".join({"isa": isa, "ir": ir, "dumps": dumps, "syscalls": syscalls}[options.topic]()))
    return 0


def isa() -> Iterator[str]:
    """All instructions: mnemonic, encoding row, syntax, extension."""
    from vmjit.guest import GUEST, get

    instructions = dict.fromkeys(variant.instruction for variant in get(GUEST).decode_table.variants)
    rows: Rows = [
        (made.name, made.encoding.row, made.syntax, made.extension) for made in instructions if not made.reserved
    ]
    yield from table(("mnemonic", "encoding", "syntax", "extension"), rows)


def ir() -> Iterator[str]:
    """Operations of the IR and what ends a block."""
    from vmjit.ir.ops import OPS, TERMINATORS, Op

    def effects(op: Op) -> str:
        names = ("reads_memory", "writes_memory", "reads_state", "writes_state", "raises_flags")
        return ", ".join(name.replace("_", " ") for name in names if getattr(op, name)) or "-"

    rows: Rows = [
        (op.name, " ".join(op.operands) or "-", op.result or "-", op.attr or "-", effects(op), op.summary)
        for op in OPS.values()
    ]
    yield from table(("operation", "operands", "result", "attribute", "effects", "meaning"), rows)
    yield ""
    yield from table(("terminator", "meaning"), list(TERMINATORS.items()))


def dumps() -> Iterator[str]:
    """Dump categories and environment variables."""
    from vmjit.debug import CATEGORIES, VARIABLES

    yield from table(("category", "shows"), list(CATEGORIES.items()))
    yield ""
    rows: Rows = [(name, option or "-", meaning) for name, (option, meaning) in VARIABLES.items()]
    yield from table(("variable", "option of run", "meaning"), rows)


def syscalls() -> Iterator[str]:
    """docs/syscalls.md: every system call of riscv64 Linux, and how much of it there is."""
    from vmjit.linux.abi import NAMES
    from vmjit.linux.syscalls import TABLE, absent

    rows: Rows = []
    for number, name in sorted(NAMES.items()):
        entry = TABLE.get(number)
        if entry is None:
            rows.append((str(number), name, "none", ""))
        elif entry.function is absent:
            rows.append((str(number), name, "none", "nothing is said: programs go on without"))
        elif entry.lacks:
            rows.append((str(number), name, "partial", entry.lacks))
        else:
            rows.append((str(number), name, "full", ""))
    counts = [f"{sum(row[2] == kind for row in rows)} {kind}" for kind in ("full", "partial", "none")]
    yield from (
        "# System calls of riscv64 Linux",
        "",
        f"{', '.join(counts)}. Made by `python -m vmjit doc syscalls > docs/syscalls.md`; do not edit.",
        "",
        "*full*: does what the kernel does, as far as the host does. *partial*: lacks what is named. *none*: fails",
        "with ENOSYS, which is said once on stderr.",
        "",
    )
    yield "| number | name | there | what is missing |"
    yield "|---|---|---|---|"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def table(head: Sequence[str], rows: Rows) -> Iterator[str]:
    """Lines with columns as wide as what they hold."""
    lines = [tuple(head), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    lines.insert(1, tuple("-" * width for width in widths))
    for line in lines:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
