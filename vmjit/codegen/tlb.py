"""Looking an address up in the software TLB, as LLVM text: one comparison where it has an entry.

The tag is compared with the page of the last byte of the access, in the entry of the page of the first: an access that
crosses the end of a page never matches, and canonical addresses need no test of their own. What does not match is a
call of `refill` (codegen/walk.py), which leaves all registers of the host as they are. Loads are volatile and the tag
comes first, so another thread may take an entry away by its tag.
"""

from vmjit.ir.layout import (
    EXECUTE_TAG,
    NOT_TRANSLATED,
    PAGE_BITS,
    READ_TAG,
    TLB_ADDEND,
    TLB_ENTRY_SIZE,
    WORD,
    WRITE_TAG,
    Layout,
)

REFILL_CONVENTION = "preserve_allcc"
ENTRY_SHIFT = PAGE_BITS - (TLB_ENTRY_SIZE.bit_length() - 1)  # from an address to the offset of its entry, not masked
KINDS = {"read": READ_TAG, "write": WRITE_TAG}
LIKELY = '!prof !{!"branch_weights", i32 1000, i32 1}'
_PAGE_SIZE = 1 << PAGE_BITS


def access_number(access: str) -> int:
    """What `refill` is told of an access as ir.ops.ACCESSES name it."""
    return KINDS[access[:-1]] | int(access[-1]) << 2


def look_up(result: str, address: str, access: str, layout: Layout, counts: bool) -> str:
    """Text that tests for an entry, up to the label of what is done where there is none."""
    tag = result.removeprefix("%")
    count = _count(result, layout) if counts else ""
    return f"""\
{_last(result, address, access)}
{result}.page = and i64 {result}.last, {-_PAGE_SIZE}
{_word(f"{result}.tlb", "tlb", "ptr", layout)}
{_word(f"{result}.mask", "tlb_mask", "i64", layout)}
{result}.number = lshr i64 {address}, {ENTRY_SHIFT}
{result}.offset = and i64 {result}.number, {result}.mask
{result}.entry = getelementptr i8, ptr {result}.tlb, i64 {result}.offset
{result}.tag.p = getelementptr i8, ptr {result}.entry, i64 {WORD * KINDS[access[:-1]]}
{result}.tag = load volatile i64, ptr {result}.tag.p, align 8
{result}.same = icmp eq i64 {result}.tag, {result}.page
br i1 {result}.same, label %{tag}.hit, label %{tag}.miss, {LIKELY}
{tag}.hit:
{count}{result}.addend.p = getelementptr i8, ptr {result}.entry, i64 {TLB_ADDEND}
{result}.addend = load volatile i64, ptr {result}.addend.p, align 8
{result}.there = add i64 {address}, {result}.addend
br label %{tag}.done
{tag}.miss:"""


def compare(result: str, address: str, access: str, near: tuple[str, str], distance: int | None) -> str:
    """The same, by comparing with an address whose translation is at hand; `distance` from there, if it is known."""
    tag = result.removeprefix("%")
    other, translation = near
    size = int(access[-1])
    lines = [_last(result, address, access)]
    ends = [f"{result}.last"] if distance is not None and distance >= 0 else []
    if distance is not None and distance <= -size:
        ends = [address]
    for number, end in enumerate(ends or (address, f"{result}.last")):
        lines.append(f"{result}.x{number} = xor i64 {end}, {other}")
    differs = f"{result}.x0"
    if not ends:
        lines.append(f"{result}.x = or i64 {result}.x0, {result}.x1")
        differs = f"{result}.x"
    moved = str(distance)
    if distance is None:
        moved = f"{result}.moved"
        lines.append(f"{moved} = sub i64 {address}, {other}")
    return "\n".join(
        (
            *lines,
            f"{result}.same = icmp ult i64 {differs}, {_PAGE_SIZE}",
            f"br i1 {result}.same, label %{tag}.hit, label %{tag}.miss, {LIKELY}",
            f"{tag}.hit:",
            f"{result}.there = add i64 {translation}, {moved}",
            f"br label %{tag}.done",
            f"{tag}.miss:",
        )
    )


def refilled(result: str, address: str, access: str, outside: str | None, layout: Layout) -> str:
    """Text that goes on from there with `result`, or at label `outside`, if it is given, where no translation is."""
    tag = result.removeprefix("%")
    leave = f"br label %{tag}.done"
    if outside is not None:
        leave = f"""\
{result}.ok = icmp ne i64 {result}.slow, {NOT_TRANSLATED}
br i1 {result}.ok, label %{tag}.done, label %{outside}, {LIKELY}"""
    return f"""\
{_word(f"{result}.refill", "tlb_refill", "ptr", layout)}
{result}.slow = call {REFILL_CONVENTION} i64 {result}.refill(ptr %state, i64 {address}, i64 {access_number(access)})
{leave}
{tag}.done:
{result} = phi i64 [ {result}.there, %{tag}.hit ], [ {result}.slow, %{tag}.miss ]"""


def _last(result: str, address: str, access: str) -> str:
    return f"{result}.last = add i64 {address}, {int(access[-1]) - 1}"


def _word(result: str, name: str, type: str, layout: Layout) -> str:
    return f"""\
{result}.p = getelementptr i8, ptr %state, i64 {layout.offsets[name]}
{result} = load {type}, ptr {result}.p, align 8"""


def _count(result: str, layout: Layout) -> str:
    return f"""\
{_word(f"{result}.hits", "tlb_hits", "i64", layout)}
{result}.hits.n = add i64 {result}.hits, 1
store i64 {result}.hits.n, ptr {result}.hits.p, align 8
"""


def fetched(result: str, address: str, size: int, layout: Layout) -> str:
    """Text that computes where in memory code lies, and in `result`.ok whether it does."""
    return f"""\
{_word(f"{result}.refill", "tlb_refill", "ptr", layout)}
{result} = call {REFILL_CONVENTION} i64 {result}.refill(ptr %state, i64 {address}, i64 {EXECUTE_TAG | size << 2})
{result}.ok = icmp ne i64 {result}, {NOT_TRANSLATED}"""
