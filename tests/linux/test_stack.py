import os
import struct

import pytest

from tests.linux.conftest import Guest
from vmjit.errors import GuestError
from vmjit.linux.stack import stack_size
from vmjit.loader.elf import Executable, Image

PROGRAM = Executable(
    path="program",
    machine=243,
    elf_type=2,
    entry=0x10400,
    phoff=64,
    phentsize=56,
    phnum=7,
    segments=(),
    interpreter=None,
    flags=0,
    stack_permissions=3,
)
IMAGE = Image(PROGRAM, bias=0, entry=0x10400, phdr_address=0x10040, brk_start=0x400123, end=0x400123)


def words(guest: Guest, address: int) -> list[int]:
    found: list[int] = []
    while True:
        (word,) = struct.unpack("<Q", guest.memory.read(address, 8))
        if not word:
            return found
        found.append(word)
        address += 8


def test_start_lays_out_the_stack(guest: Guest) -> None:
    guest.process.argv = [b"prog", b"", b"last"]
    guest.process.env = [b"A=1", b"NOVALUE"]
    sp = guest.process.start(IMAGE, hwcap=0x112D, interpreter_base=0x3000000)
    memory = guest.memory
    assert sp % 16 == 0
    assert struct.unpack("<Q", memory.read(sp, 8)) == (3,)
    argv = words(guest, sp + 8)
    assert [memory.read_cstring(address) for address in argv] == [b"prog", b"", b"last"]
    env = words(guest, sp + 8 + 4 * 8)
    assert [memory.read_cstring(address) for address in env] == [b"A=1", b"NOVALUE"]
    auxv_at = sp + 8 + 4 * 8 + 3 * 8
    pairs = dict(struct.iter_unpack("<QQ", memory.read(auxv_at, len(guest.process.auxv))))
    assert memory.read(auxv_at, len(guest.process.auxv)) == guest.process.auxv
    assert pairs[3] == 0x10040
    assert pairs[4] == 56
    assert pairs[5] == 7
    assert pairs[6] == 4096
    assert pairs[7] == 0x3000000
    assert pairs[9] == 0x10400
    assert pairs[11] == os.getuid()
    assert pairs[16] == 0x112D
    assert memory.read(pairs[33], 4) == b"\x7fELF"
    assert guest.process.signals.return_address - pairs[33] in range(64, 4096)
    assert pairs[0] == 0
    assert memory.read(pairs[25], 16) != bytes(16)
    assert memory.read_cstring(pairs[31]) == guest.process.execfn


def test_the_stack_is_writable_and_guarded(guest: Guest) -> None:
    sp = guest.process.start(IMAGE, hwcap=0)
    stack = next(region for region in guest.memory.regions() if region.name == "[stack]")
    assert stack.start < sp < stack.end == guest.process.stack_top
    guest.memory.write(stack.start, b"x")
    assert guest.memory.permissions(stack.start - 1) == 0
    place = guest.memory.find_free(4096)
    assert place is not None
    assert place < stack.start - (1 << 16)


def test_arguments_that_do_not_fit_are_an_error(guest: Guest) -> None:
    guest.process.argv = [b"x" * (stack_size() // 4)]
    with pytest.raises(GuestError, match="more than a quarter of the stack"):
        guest.process.start(IMAGE, hwcap=0)


def test_a_program_that_leaves_no_room_is_an_error(guest: Guest) -> None:
    guest.memory.map(0x200000, guest.memory.size - 0x200000, 0)
    with pytest.raises(GuestError, match="no room for a stack"):
        guest.process.start(IMAGE, hwcap=0)


def test_brk_starts_behind_the_image(guest: Guest) -> None:
    guest.process.start(IMAGE, hwcap=0)
    assert guest.call("brk", 0) == 0x401000
