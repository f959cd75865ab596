"""Programs behind a page table: what they load, store and execute, and what they are told when they may not."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count

import pytest
from machines import CODE, NO_CACHE, PAGE, Here, assemble, registers, set_registers, worker_for

from vmjit.debug import Settings
from vmjit.engine.hart import Hart, Stop, Tier
from vmjit.errors import SettingsError
from vmjit.guest import get
from vmjit.ir.exits import ExitReason
from vmjit.memory.address_space import AddressSpace
from vmjit.memory.bus import Bus
from vmjit.memory.mmu import PTE_A, PTE_D, PTE_R, PTE_U, PTE_V, PTE_W, PTE_X, SV39, SV48, Translation

RAM, RAM_SIZE = 0x8000_0000, 64 << 20
ROOT = RAM
FRAMES = RAM + (1 << 20)  # from here on pages are given out
HIGH = 0xFFFF_FFC0_0000_0000  # the lowest address of the upper half with three levels
DATA, DEVICE = 0x4000_0000, 0x1000_0000
R, RW, RX, RWX = PTE_R, PTE_R | PTE_W, PTE_R | PTE_X, PTE_R | PTE_W | PTE_X
TIERS = [Tier.REFERENCE, Tier.INTERPRETER, Tier.JIT]
SETTINGS = Settings(memory="tlb")

in_each_tier = pytest.mark.parametrize("tier", TIERS, ids=lambda tier: tier.value)


class Paged:
    """A hart, RAM and a page table that grows in it."""

    def __init__(self, tier: Tier, mode: str = SV39) -> None:
        self.space = AddressSpace()
        self.bus = Bus(self.space)
        self.bus.add_ram(RAM, RAM_SIZE)
        self.tables = count(RAM + PAGE, PAGE)
        self.frames = count(FRAMES, 3 * PAGE)  # never two that follow each other
        service = Here(worker_for("riscv64", "tlb"))
        self.hart = Hart(get("riscv64"), self.bus, service, NO_CACHE, SETTINGS, tier=tier, sync=True)  # type: ignore[arg-type]
        self.settings = Translation(mode, ROOT)
        self.hart.set_translation(self.settings)

    def map(self, vaddr: int, rights: int, paddr: int | None = None, level: int = 0, root: int = ROOT) -> int:
        """A page of some level; its physical address."""
        target = next(self.frames) if paddr is None else paddr
        self.space.write(self.entry(vaddr, level, root), (target >> 2 | rights | PTE_V).to_bytes(8, "little"))
        return target

    def entry(self, vaddr: int, level: int = 0, root: int = ROOT) -> int:
        """Where the entry for an address lies; makes the tables above it."""
        table = root
        for above in range(self.settings.levels - 1, level, -1):
            at = table + (vaddr >> 12 + 9 * above) % 512 * 8
            if not self.word(at):
                self.space.write(at, (next(self.tables) >> 2 | PTE_V).to_bytes(8, "little"))
            table = (self.word(at) >> 10) << 12
        return table + (vaddr >> 12 + 9 * level) % 512 * 8

    def word(self, paddr: int) -> int:
        return int.from_bytes(self.space.read(paddr, 8), "little")

    def load(self, text: str, at: int = CODE) -> int:
        """Let assembly text be executed at an address; where it lies."""
        frame = self.map(at, RX)
        self.space.write(frame, assemble(text, at, "riscv64"))
        return frame

    def run(self, pc: int = CODE, **values: int) -> Stop:
        set_registers(self.hart, pc=pc, **values)
        return self.hart.run()

    def register(self, name: str) -> int:
        return registers(self.hart)[name]


@contextmanager
def paged(tier: Tier, mode: str = SV39) -> Iterator[Paged]:
    made = Paged(tier, mode)
    try:
        yield made
    finally:
        made.hart.close()
        made.space.close()


SUM = """
again:
    ld t0, 0(a0)
    add a2, a2, t0
    sd a2, 0(a0)
    addi a0, a0, 8
    bne a0, a1, @again
    ecall
"""


@in_each_tier
@pytest.mark.parametrize("mode", [SV39, SV48])
def test_pages_may_lie_anywhere(tier: Tier, mode: str) -> None:
    """Three pages in a row for the program, three frames apart; three times, so that it gets hot."""
    with paged(tier, mode) as made:
        made.load(SUM)
        frames = [made.map(DATA + number * PAGE, RW) for number in range(3)]
        words = list(range(1, 1 + 3 * PAGE // 8))
        for _ in range(1 if tier is Tier.REFERENCE else 3):
            for number, frame in enumerate(frames):
                part = words[number * 512 : (number + 1) * 512]
                made.space.write(frame, b"".join(word.to_bytes(8, "little") for word in part))
            assert made.run(x10=DATA, x11=DATA + 3 * PAGE, x12=0).reason is ExitReason.SYSCALL
            assert made.register("x12") == sum(words)
            assert [made.word(frame) for frame in frames] == [sum(words[: number * 512 + 1]) for number in range(3)]


@in_each_tier
def test_an_access_crosses_into_a_page_elsewhere(tier: Tier) -> None:
    with paged(tier) as made:
        made.load("ld t0, 0(a0)\nsd t1, 0(a0)\nld t2, 0(a0)\necall")
        first, second = made.map(DATA, RW), made.map(DATA + PAGE, RW)
        made.space.write(first + PAGE - 3, b"abc")
        made.space.write(second, b"defgh")
        assert made.run(x10=DATA + PAGE - 3, x6=0x1122334455667788).reason is ExitReason.SYSCALL
        assert made.register("x5").to_bytes(8, "little") == b"abcdefgh"
        assert made.register("x7") == 0x1122334455667788
        assert made.space.read(second, 5) == bytes.fromhex("5544332211")


@in_each_tier
def test_code_crosses_into_a_page_elsewhere(tier: Tier) -> None:
    with paged(tier) as made:
        first = made.load("c.nop")
        second = made.map(CODE + PAGE, RX)
        code = assemble("addi a0, zero, 77\necall", CODE + PAGE - 2, "riscv64")
        made.space.write(first + PAGE - 2, code[:2])
        made.space.write(second, code[2:])
        assert made.run(pc=CODE + PAGE - 2) == Stop(ExitReason.SYSCALL, CODE + PAGE + 6, 0)
        assert made.register("x10") == 77


# What is refused: instruction, rights of the page or None for none, exception code.
REFUSED = {
    "load of nothing": ("ld t0, 8(a0)", None, 13),
    "store to nothing": ("sb t0, 8(a0)", None, 15),
    "store to what can be read": ("sd t0, 8(a0)", R, 15),
    "atomic on what can be read": ("amoadd.w t0, t1, (a3)", R, 15),
    "atomic on nothing": ("amoadd.w t0, t1, (a3)", None, 15),
    "reservation of what can be executed": ("lr.d t0, (a3)", PTE_X, 13),
    "load of what users have": ("lw t0, 8(a0)", RW | PTE_U, 13),
}


@in_each_tier
@pytest.mark.parametrize("what", REFUSED)
def test_a_page_fault_has_cause_and_address(tier: Tier, what: str) -> None:
    """In a loop that was hot with a page where everything is allowed."""
    instruction, rights, cause = REFUSED[what]
    with paged(tier) as made:
        made.load(f"again:\n{instruction}\naddi a1, a1, -1\nbne a1, zero, @again\necall")
        made.map(DATA, RWX)
        if rights is not None:
            made.map(DATA + PAGE, rights)
        assert made.run(x10=DATA, x13=DATA + 8, x11=50).reason is ExitReason.SYSCALL
        retired = made.register("instret")
        stop = made.run(x10=DATA + PAGE, x13=DATA + PAGE + 8, x11=50)
        assert stop == Stop(ExitReason.FAULT, CODE, DATA + PAGE + 8, cause=cause)
        assert made.register("instret") == retired


@in_each_tier
@pytest.mark.parametrize("rights", [None, RW, RX | PTE_U])
def test_what_may_not_be_executed(tier: Tier, rights: int | None) -> None:
    with paged(tier) as made:
        made.load("jalr zero, 0(a0)")
        if rights is not None:
            made.map(DATA, rights)
        assert made.run(x10=DATA) == Stop(ExitReason.FAULT, DATA, DATA, cause=12)


@in_each_tier
def test_nothing_answers_for_a_physical_address(tier: Tier) -> None:
    with paged(tier) as made:
        made.load("ld t0, 0(a0)\necall")
        made.load("sd t0, 0(a0)\necall", CODE + PAGE)
        made.load("jalr zero, 0(a0)", CODE + 2 * PAGE)
        made.map(DATA, RWX, paddr=0x2000_0000)
        causes = [made.run(pc=CODE + number * PAGE, x10=DATA).cause for number in range(3)]
        assert causes == [5, 7, 1]


@in_each_tier
def test_addresses_that_are_not_canonical(tier: Tier) -> None:
    with paged(tier) as made:
        made.load("ld t0, 0(a0)\necall")
        made.map(HIGH, RW)
        made.map(HIGH % (1 << 39), RW)
        assert made.run(x10=HIGH).reason is ExitReason.SYSCALL
        assert made.run(x10=HIGH % (1 << 39)) == Stop(ExitReason.FAULT, CODE, HIGH % (1 << 39), cause=13)
        assert made.run(x10=HIGH).reason is ExitReason.SYSCALL


@in_each_tier
def test_accessed_and_dirty_are_set(tier: Tier) -> None:
    with paged(tier) as made:
        made.load("ld t0, 0(a0)\necall\nsd t0, 0(a0)\necall")
        made.map(DATA, RW)
        seen = [made.word(made.entry(DATA)) & (PTE_A | PTE_D)]
        for pc in (CODE, CODE + 8):
            made.run(pc=pc, x10=DATA)
            seen.append(made.word(made.entry(DATA)) & (PTE_A | PTE_D))
        assert seen == [0, PTE_A, PTE_A | PTE_D]


@in_each_tier
def test_large_pages(tier: Tier) -> None:
    """2 MiB at DATA, 1 GiB above it; a fence for one address forgets all of the page."""
    with paged(tier) as made:
        made.load(SUM)
        made.map(DATA, RW, paddr=RAM + (4 << 20), level=1)
        made.map(DATA + (1 << 30), RW, paddr=RAM, level=2)
        made.space.write(RAM + (5 << 20), (7).to_bytes(8, "little"))
        for _ in range(2):
            made.run(x10=DATA + (1 << 20), x11=DATA + (1 << 20) + 8, x12=0)
        assert made.register("x12") == 7
        made.run(x10=DATA + (1 << 30) + (5 << 20), x11=DATA + (1 << 30) + (5 << 20) + 8, x12=1)
        assert made.register("x12") == 8
        made.map(DATA, RW, paddr=RAM + (6 << 20), level=1)
        made.hart.fence_translation(DATA)
        made.run(x10=DATA + (1 << 20), x11=DATA + (1 << 20) + 8, x12=0)
        assert made.register("x12") == 0


@in_each_tier
def test_devices_and_registers(tier: Tier) -> None:
    """In a loop: what a device is asked and told, and registers that are plain memory."""
    import numpy

    asked: list[tuple[int, int]] = []
    told: list[tuple[int, int, int]] = []
    with paged(tier) as made:

        def read(offset: int, size: int) -> int:
            asked.append((offset, size))
            return 0xFFF0 + len(asked)

        made.bus.add_device(DEVICE, PAGE, read, lambda *what: told.append(what))
        array = made.bus.add_registers(DEVICE + PAGE, numpy.arange(8, dtype="u4"))
        made.map(DEVICE, RW, paddr=DEVICE)
        made.map(DEVICE + PAGE, RW, paddr=DEVICE + PAGE)
        made.load(
            "again:\nlhu t0, 6(a0)\nsw t0, 16(a0)\nlw t1, 8(a1)\nadd t1, t1, t0\nsw t1, 8(a1)\n"
            "addi a2, a2, -1\nbne a2, zero, @again\necall"
        )
        assert made.run(x10=DEVICE, x11=DEVICE + PAGE, x12=10).reason is ExitReason.SYSCALL
        assert asked == [(6, 2)] * 10 and told == [(16, 4, 0xFFF1 + number) for number in range(10)]
        assert array[2] == 2 + sum(0xFFF1 + number for number in range(10)) and array[3] == 3
        made.load("ld t0, 0(a0)\necall", CODE + PAGE)
        made.map(DEVICE + 2 * PAGE, RW, paddr=DEVICE + 2 * PAGE)
        assert made.run(pc=CODE + PAGE, x10=DEVICE + 2 * PAGE).cause == 5


@in_each_tier
def test_address_spaces_have_their_own_data_and_code(tier: Tier) -> None:
    """Two, by turns: the same addresses, other pages; what is global in both is there in both."""
    with paged(tier) as made:
        other = RAM + (512 << 10)
        spaces = [made.settings, replace(made.settings, root=other, asid=1)]
        for number, space in enumerate(spaces):
            frame = made.map(CODE, RX, root=space.root)
            made.space.write(frame, assemble(f"ld t0, 0(a0)\naddi t0, t0, {number}\necall", CODE, "riscv64"))
            made.space.write(made.map(DATA, RW, root=space.root), (100 * number).to_bytes(8, "little"))
        seen = []
        for _ in range(3):
            for space in spaces:
                made.hart.set_translation(space)
                made.run(x10=DATA)
                seen.append(made.register("x5"))
        assert seen == [0, 101] * 3


@in_each_tier
def test_a_fence_makes_changes_seen(tier: Tier) -> None:
    with paged(tier) as made:
        made.load("ld t0, 0(a0)\necall")
        made.space.write(made.map(DATA, RW), b"\x05")
        made.run(x10=DATA)
        made.space.write(made.map(DATA, RW), b"\x06")
        made.hart.fence_translation(DATA)
        made.run(x10=DATA)
        assert made.register("x5") == 6
        made.load("addi t0, zero, 9\necall")
        made.hart.fence_translation()
        made.run(x10=DATA)
        assert made.register("x5") == 9


def test_users_and_supervisors() -> None:
    """U, SUM and MXR: contexts that do not mix."""
    with paged(Tier.JIT) as made:
        made.load("ld t0, 0(a0)\necall")
        user = made.load("ld t0, 0(a0)\necall", CODE + PAGE)
        made.map(CODE + PAGE, RX | PTE_U, paddr=user)
        made.map(DATA, RW | PTE_U)
        made.map(DATA + PAGE, PTE_X)
        supervisor = made.settings
        cases = {
            (supervisor, CODE, DATA): 13,
            (replace(supervisor, sum=True), CODE, DATA): None,
            (replace(supervisor, user=True), CODE + PAGE, DATA): None,
            (replace(supervisor, user=True), CODE + PAGE, CODE): 13,
            (supervisor, CODE, DATA + PAGE): 13,
            (replace(supervisor, mxr=True), CODE, DATA + PAGE): None,
            (replace(supervisor, sum=True), CODE + PAGE, DATA): 12,
        }
        for _ in range(2):
            for (settings, pc, address), cause in cases.items():
                made.hart.set_translation(settings)
                assert made.run(pc=pc, x10=address).cause == cause, (settings, hex(pc), hex(address))


def test_a_machine_needs_a_tlb() -> None:
    with AddressSpace() as space, pytest.raises(SettingsError, match="memory='tlb'"):
        Hart(get("riscv64"), Bus(space), Here(worker_for("riscv64")), NO_CACHE, Settings())  # type: ignore[arg-type]
