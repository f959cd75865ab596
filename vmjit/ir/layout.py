"""Where everything lives in the state of one hart: 64-bit words that native code, Python and the interpreter share.

The engine's words come first, then one word for each guest register. A register file has one word more than registers
when it has a zero register: the sink that writes to the zero register go to (the zero register itself stays 0).
"""

from dataclasses import dataclass, field

WORD = 8  # bytes
ADDRESS_BITS = 38  # guest addresses are below 2**ADDRESS_BITS

# name -> word index. Native code addresses these relative to the state pointer.
ENGINE_WORDS = {
    name: index
    for index, name in enumerate(
        (
            "pc",  # where to go on
            "reason",  # ExitReason of the last return to the host
            "arg",  # its argument
            "instret",  # guest instructions retired; kept in a host register while guest code runs
            "limit",  # guest code returns at the next jump once instret has reached this; 0 keeps it from being entered
            "running",  # not 0 while native code runs, and after a fault until the host knows where
            "memory",  # host address of guest address 0
            "slots",  # host address of the slot of guest address 0
            "code",  # host address of the arena; slots hold offsets from it, and the decode stub lies at offset 0
            "pages",  # host address of a byte for each guest page: not 0 when instructions may be decoded from it
            "handlers",  # host address of the table of interpreter handlers: offsets from `code` by variant
            "cold",  # host address of the native code for jumps from regions into interpreted code
            "leave",  # host address of the native code that returns from a region to the host
            "clock",  # host address of the native code that tells the time, in ticks
            "trap",  # host address of the native code that a system call goes to, with the slot of what comes after it
            "host_stack",  # stack pointer of the native entry function, for recovery from a host fault
            "host_frame",  # its frame pointer, the one register that guest code must leave as it was
            "access_slot",  # slot of the instruction that accesses memory (interpreter)
            "access_instret",  # instret at that instruction
            "fault_address",  # host address that faulted
            "fault_code",  # host pc that faulted
            "scratch",  # for instructions of the host that work on memory only
            "interrupt",  # number of the host's signal that waits to be taken, its siginfo at SIGINFO_OFFSET; 0: none
            # The software TLB, see memory/tlb.py.
            "tlb",  # host address of its entries
            "tlb_mask",  # (entries - 1) * TLB_ENTRY_SIZE
            "tlb_refill",  # host address of the native code that is called for what the entries do not have
            "tlb_flags",  # TLB_PREFETCH, and how the victim to replace is chosen
            "victims",  # host address of the victim entries
            "victim_count",
            "victim_next",  # the one to replace next, or the state of the generator of random numbers
            "frames",  # host address of a byte for each page of memory: permissions; 0 leads to the host
            "walk_levels",  # of the page table: 0 Bare, 3 Sv39, 4 Sv48
            "walk_root",  # physical address of the root page table
            "walk_flags",  # WALK_USER, WALK_SUM, WALK_MXR
            "walk_large",  # not 0 once an entry was made from a page larger than 4 KiB
            "tlb_hits",  # counted only where code was made so
            "tlb_misses",  # of the entries
            "victim_hits",
            "tlb_walks",
            "tlb_evictions",  # of valid entries from the victims, or from the entries where there are no victims
            "tlb_prefetches",
        )
    )
}
# A slot for every guest halfword: the slot of address pc lies SLOT_SCALE * pc bytes after `slots`.
SLOT_SCALE = 8
SLOT_SIZE = 16  # bytes: offset of the code that executes from here, then the operands of the decoded instruction
SLOT_OPERANDS = 8  # offset of the latter
# Offset of 16 bits that operands of conditional branches leave free: how often it was taken lately, from -ODDS_SCALE,
# never, to ODDS_SCALE, always.
SLOT_ODDS = 10
ODDS_SCALE = 1 << 15
HANDLERS_SIZE = 1 << 20  # the arena's first bytes, for the interpreter; copies of its handlers come after
INTERPRETER_SIZE = 32 << 20  # with these, of a million instructions; compiled regions come after
EMULATED = (1 << 64) - 1  # in place of a handler's offset: the reference evaluator executes the instruction
# A line number of compiled code is that of an address: LINE_BIAS + (address - region's) / 2. Lines are positive, and a
# region reaches back from its first address, by far less than this.
LINE_BIAS = 1 << 24
PAGE_BITS = 12  # of guest pages

# An entry of the TLB: tags for reading, writing and executing, then what is added to a virtual address to get its
# offset in memory. A tag is the virtual address of a page, or INVALID_TAG, which is none.
TLB_ENTRY_SIZE = 32  # bytes
TLB_ADDEND = 24  # offset of the latter; that of a tag is 8 * the kind of access
READ_TAG, WRITE_TAG, EXECUTE_TAG = 0, 1, 2  # kinds of access
INVALID_TAG = (1 << 64) - 1
NOT_TRANSLATED = (1 << 64) - 1  # in place of an offset in memory: the host must look at the access
TLB_PREFETCH = 1  # make an entry for the next page too
TLB_RANDOM, TLB_LRU = 2, 4  # instead of the victim that came first
WALK_USER, WALK_SUM, WALK_MXR = 1, 2, 4

# Counters of jump targets, hashed by slot; 16 bits each. An address that shares one with a hot address, which was asked
# for and still counts, does not get hot itself: with 4096 for the 7000 hot addresses of Python's test.test_struct a
# quarter of its time was in handlers.
HEAT_ENTRIES = 1 << 16
HEAT_OFFSET = 2048  # bytes from the state's start: behind all registers
# Calls and indirect jumps that were interpreted, hashed by both ends: slot of the jump, slot of its target. Later ones
# overwrite earlier ones.
JUMP_ENTRIES = 4096
JUMP_OFFSET = HEAT_OFFSET + 2 * HEAT_ENTRIES  # bytes from the state's start
SIGINFO_OFFSET = JUMP_OFFSET + 2 * WORD * JUMP_ENTRIES  # what is known of the signal that waits
SIGINFO_SIZE = 128
STATE_SIZE = SIGINFO_OFFSET + SIGINFO_SIZE


@dataclass(frozen=True)
class RegisterFile:
    """`count` registers of 64 bits named `name` + number; `zero` is the number of the one that always reads 0."""

    name: str
    count: int
    names: tuple[str, ...] = ()  # as assembly prints them
    zero: int | None = None

    @property
    def sink(self) -> int | None:
        """The number that writes to the zero register are redirected to."""
        return None if self.zero is None else self.count


@dataclass(frozen=True)
class Layout:
    """Byte offsets of all registers of a guest.

    `flags` and `rounding` name the registers that hold IEEE exceptions (as RISC-V fflags) and the rounding mode (as
    RISC-V frm), or are None for a guest without floating point.
    """

    files: tuple[RegisterFile, ...]
    scalars: tuple[str, ...] = ()
    flags: str | None = None
    rounding: str | None = None
    offsets: dict[str, int] = field(init=False, repr=False, compare=False)  # register -> bytes
    bases: dict[str, int] = field(init=False, repr=False, compare=False)  # file -> bytes

    def __post_init__(self) -> None:
        offsets = {name: index * WORD for name, index in ENGINE_WORDS.items()}
        bases: dict[str, int] = {}
        word = len(ENGINE_WORDS)
        for file in self.files:
            bases[file.name] = word * WORD
            for number in range(file.count + (file.zero is not None)):
                offsets[f"{file.name}{number}"] = word * WORD
                word += 1
        for name in self.scalars:
            offsets[name] = word * WORD
            word += 1
        if word * WORD > HEAT_OFFSET:
            raise ValueError(f"{word} words of state do not fit in {HEAT_OFFSET} bytes; enlarge HEAT_OFFSET")
        object.__setattr__(self, "offsets", offsets)
        object.__setattr__(self, "bases", bases)

    def file(self, name: str) -> RegisterFile:
        return next(file for file in self.files if file.name == name)

    def word(self, register: str) -> int:
        """The index of a register in the state seen as 64-bit words."""
        return self.offsets[register] // WORD

    def registers(self) -> list[str]:
        """All guest registers that hold architectural state: no engine words, no sinks."""
        sinks = {f"{file.name}{file.sink}" for file in self.files if file.zero is not None}
        return [name for name in self.offsets if name not in ENGINE_WORDS and name not in sinks]
