"""What interpreted jumps leave behind, as LLVM text: how often each target was reached, where calls lead, which way
branches mostly go.

Native code has %state; names begin with a tag.
"""

from vmjit.ir.layout import (
    HEAT_ENTRIES,
    HEAT_OFFSET,
    JUMP_ENTRIES,
    JUMP_OFFSET,
    ODDS_SCALE,
    SLOT_ODDS,
    SLOT_SIZE,
    WORD,
)

NOTED = ("call", "indirect")  # chains whose targets are noted; an interpreter handler does not know a return
SLOT_INDEX_SHIFT = SLOT_SIZE.bit_length() - 1

ODDS_SHIFT = 5  # the last 32 times or so count


def count(slot: str, tag: str) -> tuple[str, str]:
    """Text that advances the counter of a jump target, and the name that tells whether it has run over."""
    text = f"""\
%{tag}.address = ptrtoint ptr {slot} to i64
%{tag}.hash = lshr i64 %{tag}.address, {SLOT_INDEX_SHIFT}
%{tag}.index = and i64 %{tag}.hash, {HEAT_ENTRIES - 1}
%{tag}.entry = getelementptr i16, ptr %state, i64 %{tag}.index
%{tag}.heat = getelementptr i8, ptr %{tag}.entry, i64 {HEAT_OFFSET}
%{tag}.old = load i16, ptr %{tag}.heat, align 2
%{tag}.new = add i16 %{tag}.old, 1
store i16 %{tag}.new, ptr %{tag}.heat, align 2
%{tag}.full = icmp eq i16 %{tag}.new, 0"""
    return text, f"%{tag}.full"


def note(site: str, target: str, tag: str) -> str:
    """Text that notes a jump, by the slots of both ends, in place of an earlier one with the same hash."""
    return f"""\
%{tag}.from = ptrtoint ptr {site} to i64
%{tag}.to = ptrtoint ptr {target} to i64
%{tag}.spread = lshr i64 %{tag}.from, 1
%{tag}.number = lshr i64 %{tag}.to, {SLOT_INDEX_SHIFT}
%{tag}.hash = xor i64 %{tag}.spread, %{tag}.number
%{tag}.index = and i64 %{tag}.hash, {JUMP_ENTRIES - 1}
%{tag}.entry = getelementptr [2 x i64], ptr %state, i64 %{tag}.index
%{tag}.first = getelementptr i8, ptr %{tag}.entry, i64 {JUMP_OFFSET}
%{tag}.second = getelementptr i8, ptr %{tag}.entry, i64 {JUMP_OFFSET + WORD}
store i64 %{tag}.from, ptr %{tag}.first, align 8
store i64 %{tag}.to, ptr %{tag}.second, align 8"""


def odds(slot: str, taken: bool, tag: str) -> str:
    """Text that notes which way a conditional branch goes: a moving average."""
    step = ((ODDS_SCALE - 1) >> ODDS_SHIFT) * (1 if taken else -1)
    return f"""\
%{tag}.odds = getelementptr i8, ptr {slot}, i64 {SLOT_ODDS}
%{tag}.old = load i16, ptr %{tag}.odds, align 2
%{tag}.share = ashr i16 %{tag}.old, {ODDS_SHIFT}
%{tag}.rest = sub i16 %{tag}.old, %{tag}.share
%{tag}.new = add i16 %{tag}.rest, {step}
store i16 %{tag}.new, ptr %{tag}.odds, align 2"""
