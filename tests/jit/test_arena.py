"""Memory is handed out and taken back without overlap, and code placed in it runs."""

import ctypes
import random

import llvm_texts
import pytest

from vmjit.errors import VmjitError
from vmjit.jit.arena import Arena
from vmjit.jit.blob import ALIGNMENT, Blob

I64, F64 = ctypes.c_int64, ctypes.c_double


def load(arena, blob):
    """Symbol -> address."""
    offset = arena.allocate(len(blob.code))
    base = arena.place(offset, blob.code)
    return {name: base + at for name, at in blob.symbols.items()}


def test_code_runs(compiler, arena):
    for text, name, arguments, result in (
        (llvm_texts.ADD, "add", (40, 2), 42),
        (llvm_texts.CALL, "add_twice", (1, -5), -9),
        (llvm_texts.ADD, "add", (-1, -1), -2),
    ):
        function = ctypes.CFUNCTYPE(I64, I64, I64)(load(arena, compiler.compile(text)[0])[name])
        assert function(*arguments) == result


def test_a_switch_with_constants_runs(compiler, arena):
    blob = compiler.compile(llvm_texts.SWITCH)[0]
    with compiler._module(llvm_texts.SWITCH) as module:
        image = compiler._machine.emit_object(module)
    assert b".rodata.cst8" in image and b".rela.rodata" in image  # a pool and a table: else this tests nothing
    function = ctypes.CFUNCTYPE(F64, I64, F64)(load(arena, blob)["operate"])
    assert [function(i, 5.0) for i in range(-1, 6)] == [-1.0, 6.5, 17.5, -6.5, 3.25, 2.5, -1.0]


def test_code_with_data_runs_and_each_copy_has_its_own(compiler, arena):
    blob = Blob.from_bytes(compiler.compile(llvm_texts.DATA)[0].to_bytes())
    one, two = (ctypes.CFUNCTYPE(I64, I64)(load(arena, blob)["next"]) for _ in range(2))
    assert [one(0), one(1), one(3), two(2)] == [18, 29, 50, 38]


@pytest.mark.parametrize("passes", ["", "sroa,instcombine,simplifycfg"])
def test_a_chain_of_tail_calls_through_pointers_runs(compiler, arena, passes):
    blob = compiler.compile(llvm_texts.CHAIN, passes, verify=True)[0]
    addresses = load(arena, blob)
    table = (ctypes.c_void_p * 2)(addresses["count"], addresses["leave"])
    enter = ctypes.CFUNCTYPE(I64, ctypes.c_void_p, I64)(addresses["enter"])
    steps = 10_000_000  # with a frame each, they would overflow the stack
    assert enter(table, steps) == 2 * 10**9 + 1 + 7 * steps


def test_allocations_do_not_overlap():
    arena = Arena(1 << 16)
    source = random.Random(3)
    held: list[tuple[int, int]] = []
    for _ in range(3000):
        if held and source.random() < 0.5:
            arena.free(*held.pop(source.randrange(len(held))))
            continue
        size = source.randrange(0, 3000)
        offset = arena.allocate(size)
        if offset is not None:
            assert offset % ALIGNMENT == 0 and offset + size <= arena.size
            assert all(offset >= o + s or offset + size <= o for o, s in held)
            held.append((offset, size))
        assert arena.used == sum(-(-max(s, 1) // ALIGNMENT) * ALIGNMENT for _, s in held)
    for offset, size in held:
        arena.free(offset, size)
    assert arena.used == 0 and arena.allocate(1 << 16) == 0
    assert arena.allocate(1) is None
    arena.close()


def test_what_was_not_allocated_cannot_be_freed(arena):
    offset = arena.allocate(100)
    for wrong in ((offset + 64, 128), (offset + 1, 64), (4096, 64), (-64, 64), (arena.size, 64)):
        with pytest.raises(ValueError):
            arena.free(*wrong)
    arena.free(offset, 100)
    with pytest.raises(ValueError):
        arena.free(offset, 100)


def test_code_is_placed_within_the_arena_only(arena):
    for offset in (-1, arena.size - 1, arena.size + 64):
        with pytest.raises(ValueError):
            arena.place(offset, b"\xc3\xc3")
    assert arena.place(arena.size - 2, b"\xc3\xc3") == arena.base + arena.size - 2


def test_a_large_arena_takes_no_memory():
    arena = Arena(1 << 36)
    assert arena.place(arena.size - 1, b"\xc3")
    arena.close()
    arena.close()
    with pytest.raises(ValueError):
        arena.place(0, b"\xc3")
    assert arena.allocate(1) is None


def test_a_refusal_says_what_to_do(monkeypatch):
    from vmjit.jit import arena

    with pytest.raises(VmjitError, match="Raise the limit"):
        Arena(1 << 60)

    class Forbidding:
        def mmap(self, *_):
            import ctypes

            ctypes.set_errno(13)
            return arena._FAILED

    monkeypatch.setattr(arena, "_libc", Forbidding())
    with pytest.raises(VmjitError, match=r"Permission denied.*SELinux.*systemd"):
        Arena(4096)
