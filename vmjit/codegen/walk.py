"""The refill of the software TLB, as LLVM text: victims, the walk of the page table, and the new entry.

`refill(state, vaddr, access)` is called where the inline lookup found nothing. The access is a kind and a size in
bytes, see `access_of`. The result is what is added to the host address of memory, or NOT_TRANSLATED when the host must
look at the access: it faults, memory does not answer it (a device), or it crosses into a page that lies elsewhere in
memory.

The convention keeps all registers for the caller, who has guest registers in most. So there are integers only, no calls
but of itself for the two pages of a crossing access, and everything is reached through words of the state.
The walk is that of the RISC-V privileged manual, 12.3.2, with hardware that sets A and D (Svadu).

    probe -> search the victims -> walk -> granted -> frame -> fill -> install
               \\_ found _______________________________________________/
    install -> probe again, once, for the next page when entries are made ahead

In the second round `result` is what the first one found; nothing that goes wrong in it matters.
"""

from vmjit.codegen.runtime import word
from vmjit.ir.layout import (
    ADDRESS_BITS,
    EXECUTE_TAG,
    INVALID_TAG,
    NOT_TRANSLATED,
    PAGE_BITS,
    READ_TAG,
    TLB_ENTRY_SIZE,
    TLB_LRU,
    TLB_PREFETCH,
    TLB_RANDOM,
    WALK_MXR,
    WALK_SUM,
    WALK_USER,
    WORD,
    WRITE_TAG,
    Layout,
)
from vmjit.memory.address_space import EXECUTE, READ, WRITE
from vmjit.memory.mmu import PTE_A, PTE_D, PTE_PPN, PTE_PPN_SHIFT, PTE_R, PTE_RESERVED, PTE_U, PTE_V, PTE_W, PTE_X

CONVENTION = "preserve_allcc"
KIND_BITS = 2  # of an access; its size comes above
PAGE = 1 << PAGE_BITS
MEMORY = 1 << ADDRESS_BITS  # bytes that `frames` speaks of
TAGS = (READ_TAG, WRITE_TAG, EXECUTE_TAG)
ENTRY_SHIFT = TLB_ENTRY_SIZE.bit_length() - 1
INDEX_BITS = 9  # of a virtual page number, for each level of the table
PTE_SIZE_SHIFT = 3
RIGHTS_SHIFT = 1  # from a PTE's R, W and X to READ, WRITE and EXECUTE
NONE = "-1"  # no victim; and as a tag INVALID_TAG, as a result NOT_TRANSLATED
RARE = '!prof !{!"branch_weights", i32 1, i32 1000}'

assert tuple(right << RIGHTS_SHIFT for right in (READ, WRITE, EXECUTE)) == (PTE_R, PTE_W, PTE_X)
assert tuple(1 << tag for tag in TAGS) == (READ, WRITE, EXECUTE)
assert INVALID_TAG == NOT_TRANSLATED == int(NONE) % (1 << 64)


def access_of(kind: int, size: int) -> int:
    """The last argument of `refill` for `size` bytes."""
    return kind | size << KIND_BITS


def refill(layout: Layout) -> str:
    """The function, alone."""
    parts = (
        _begin(layout),
        _crossing(),
        _probe(layout),
        _search(),
        _found(layout),
        _walk(layout),
        _table(),
        _pte(),
        _leaf(),
        _update(),
        _granted(layout),
        _frame(),
        _install(),
        _displace(layout),
        _shift(),
        _choose(layout),
        _fill(),
        _next(layout),
    )
    return "\n".join((*parts, "}", ""))


def _count(layout: Layout, name: str, amount: str) -> str:
    """Text that adds to a counter in the state."""
    return f"""\
{word(layout, f"%{name}", name)}
%{name}.new = add i64 %{name}, {amount}
store i64 %{name}.new, ptr %{name}.p, align 8"""


def _entry_words(pointer: str, tag: str) -> str:
    """Text that loads an entry into %tag.0 to %tag.3, and the page that it is of into %tag.page: NONE if it is empty.

    Tags are the page or all ones.
    """
    loads = "\n".join(
        f"%{tag}.{i}.p = getelementptr i8, ptr {pointer}, i64 {WORD * i}\n"
        f"%{tag}.{i} = load i64, ptr %{tag}.{i}.p, align 8"
        for i in range(TLB_ENTRY_SIZE // WORD)
    )
    return f"""\
{loads}
%{tag}.some = and i64 %{tag}.0, %{tag}.1
%{tag}.page = and i64 %{tag}.some, %{tag}.2"""


def _store_entry(pointer: str, values: str, tag: str) -> str:
    """Text that stores the words values.0 to values.3 as an entry."""
    return "\n".join(
        f"%{tag}.{i}.p = getelementptr i8, ptr {pointer}, i64 {WORD * i}\n"
        f"store i64 {values}.{i}, ptr %{tag}.{i}.p, align 8"
        for i in range(TLB_ENTRY_SIZE // WORD)
    )


def _allows(result: str, rights: str) -> str:
    """Text that tells whether rights, bits by kind, allow the access."""
    return f"""\
{result}.right = lshr i64 {rights}, %kind
{result} = trunc i64 {result}.right to i1"""


def _begin(layout: Layout) -> str:
    words = (
        ("%entries", "tlb", "ptr"),
        ("%mask", "tlb_mask", "i64"),
        ("%policy", "tlb_flags", "i64"),
        ("%victims", "victims", "ptr"),
        ("%victim_count", "victim_count", "i64"),
        ("%frames", "frames", "ptr"),
        ("%memory", "memory", "ptr"),
    )
    return f"""
define {CONVENTION} i64 @refill(ptr %state, i64 %vaddr, i64 %access) nounwind noimplicitfloat {{
%kind = and i64 %access, {(1 << KIND_BITS) - 1}
%size = lshr i64 %access, {KIND_BITS}
%place = and i64 %vaddr, {PAGE - 1}
%end = add i64 %place, %size
%crosses = icmp ugt i64 %end, {PAGE}
br i1 %crosses, label %crossing, label %begin, {RARE}
begin:
{chr(10).join(word(layout, *found) for found in words)}
br label %probe"""


def _crossing() -> str:
    """The first page first: when it faults the second one is not touched."""
    return f"""\
crossing:
%byte = or i64 %kind, {access_of(0, 1)}
%low = call {CONVENTION} i64 @refill(ptr %state, i64 %vaddr, i64 %byte)
%low.fails = icmp eq i64 %low, {NONE}
br i1 %low.fails, label %refused, label %second
second:
%beyond = add i64 %vaddr, {PAGE}
%second.page = and i64 %beyond, {-PAGE}
%high = call {CONVENTION} i64 @refill(ptr %state, i64 %second.page, i64 %byte)
%distance = sub i64 %second.page, %vaddr
%expected = add i64 %low, %distance
%contiguous = icmp eq i64 %high, %expected
%crossing.result = select i1 %contiguous, i64 %low, i64 {NONE}
ret i64 %crossing.result
refused:
ret i64 {NONE}"""


def _probe(layout: Layout) -> str:
    """The entry may be there after all: callers need not have looked, and a page made ahead is often there."""
    return f"""\
probe:
%at = phi i64 [ %vaddr, %begin ], [ %next, %ahead ]
%result = phi i64 [ {NONE}, %begin ], [ %offset, %ahead ]
%first = icmp eq i64 %result, {NONE}
%demand = zext i1 %first to i64
%page = and i64 %at, {-PAGE}
%scaled = lshr i64 %at, {PAGE_BITS - ENTRY_SHIFT}
%index = and i64 %scaled, %mask
%entry = getelementptr i8, ptr %entries, i64 %index
{_entry_words("%entry", "old")}
%tag.p = getelementptr i64, ptr %entry, i64 %kind
%tag = load i64, ptr %tag.p, align 8
%has = icmp eq i64 %tag, %page
br i1 %has, label %present, label %absent
present:
%present.addend = load i64, ptr %old.3.p, align 8
%present.offset = add i64 %at, %present.addend
%present.result = select i1 %first, i64 %present.offset, i64 %result
ret i64 %present.result
absent:
{_count(layout, "tlb_misses", "%demand")}
%no.victims = icmp eq i64 %victim_count, 0
br i1 %no.victims, label %walk, label %search
out:
ret i64 %result"""


def _search() -> str:
    """From the last victim to the first, so that the room noted is the first empty one."""
    return f"""\
search:
%left = phi i64 [ %victim_count, %absent ], [ %number, %other ]
%room.before = phi i64 [ {NONE}, %absent ], [ %room.after, %other ]
%number = add i64 %left, -1
%victim.offset = shl i64 %number, {ENTRY_SHIFT}
%victim = getelementptr i8, ptr %victims, i64 %victim.offset
{_entry_words("%victim", "victim")}
%is.page = icmp eq i64 %victim.page, %page
br i1 %is.page, label %found, label %other
other:
%is.empty = icmp eq i64 %victim.page, {NONE}
%room.after = select i1 %is.empty, i64 %number, i64 %room.before
%searched = icmp eq i64 %number, 0
br i1 %searched, label %walk, label %search"""


def _found(layout: Layout) -> str:
    """The victim leaves its place, be it for the entry or because the page gets new rights: no page is there twice."""
    leave = "\n".join(f"store i64 {NONE}, ptr %victim.{tag}.p, align 8" for tag in TAGS)
    return f"""\
found:
br i1 %first, label %take, label %out
take:
%victim.tag.p = getelementptr i64, ptr %victim, i64 %kind
%victim.tag = load i64, ptr %victim.tag.p, align 8
%victim.fits = icmp eq i64 %victim.tag, %page
{leave}
br i1 %victim.fits, label %promote, label %walk
promote:
{_count(layout, "victim_hits", "1")}
br label %install"""


def _walk(layout: Layout) -> str:
    """Bare, or an address of which all bits above those translated are equal."""
    return f"""\
walk:
%room = phi i64 [ {NONE}, %absent ], [ %room.after, %other ], [ %number, %take ]
{_count(layout, "tlb_walks", "%demand")}
{word(layout, "%levels", "walk_levels")}
{word(layout, "%root", "walk_root")}
{word(layout, "%flags", "walk_flags")}
%is.bare = icmp eq i64 %levels, 0
br i1 %is.bare, label %frame, label %paged
paged:
%bits = mul i64 %levels, {INDEX_BITS}
%unused = sub i64 {64 - PAGE_BITS}, %bits
%high.gone = shl i64 %at, %unused
%canonical = ashr i64 %high.gone, %unused
%is.canonical = icmp eq i64 %canonical, %at
br i1 %is.canonical, label %level, label %out"""


def _table() -> str:
    """One level: the entry of the table, which must lie in memory that can be read."""
    return f"""\
level:
%above = phi i64 [ %levels, %paged ], [ %depth, %deeper ]
%table = phi i64 [ %root, %paged ], [ %target, %deeper ]
%depth = add i64 %above, -1
%depth.bits = mul i64 %depth, {INDEX_BITS}
%shift = add i64 %depth.bits, {PAGE_BITS}
%vpn = lshr i64 %at, %shift
%vpn.here = and i64 %vpn, {(1 << INDEX_BITS) - 1}
%pte.offset = shl i64 %vpn.here, {PTE_SIZE_SHIFT}
%pte.address = add i64 %table, %pte.offset
%pte.within = icmp ult i64 %pte.address, {MEMORY}
br i1 %pte.within, label %table.frame, label %out
table.frame:
%pte.page = lshr i64 %pte.address, {PAGE_BITS}
%pte.frame.p = getelementptr i8, ptr %frames, i64 %pte.page
%pte.frame = load i8, ptr %pte.frame.p, align 1
%pte.allowed = and i8 %pte.frame, {READ | WRITE}
%pte.refused = icmp eq i8 %pte.allowed, 0
br i1 %pte.refused, label %out, label %read"""


def _pte() -> str:
    """V set, nothing reserved set; then a leaf or a pointer to the next level, which has no W, U, A or D."""
    return f"""\
read:
%pte.p = getelementptr i8, ptr %memory, i64 %pte.address
%pte.read = load atomic i64, ptr %pte.p monotonic, align 8
br label %judge
judge:
%pte = phi i64 [ %pte.read, %read ], [ %pte.seen, %update ]
%pte.head = and i64 %pte, {PTE_V | PTE_RESERVED}
%is.valid = icmp eq i64 %pte.head, {PTE_V}
br i1 %is.valid, label %valid, label %out
valid:
%pte.ppn = and i64 %pte, {PTE_PPN}
%target = shl i64 %pte.ppn, {PAGE_BITS - PTE_PPN_SHIFT}
%leads = and i64 %pte, {PTE_R | PTE_X}
%is.pointer = icmp eq i64 %leads, 0
br i1 %is.pointer, label %pointer, label %leaf
pointer:
%not.of.pointers = and i64 %pte, {PTE_W | PTE_U | PTE_A | PTE_D}
%is.sound = icmp eq i64 %not.of.pointers, 0
%has.level = icmp ne i64 %depth, 0
%goes.on = and i1 %is.sound, %has.level
br i1 %goes.on, label %deeper, label %out
deeper:
br label %level"""


def _leaf() -> str:
    """W without R is reserved, a large page is aligned to its size; then who may do what, as bits by kind."""
    return f"""\
leaf:
%write.read = and i64 %pte, {PTE_R | PTE_W}
%is.reserved = icmp eq i64 %write.read, {PTE_W}
%span = shl i64 1, %shift
%low.mask = add i64 %span, -1
%low.bits = and i64 %target, %low.mask
%is.misaligned = icmp ne i64 %low.bits, 0
%is.malformed = or i1 %is.reserved, %is.misaligned
%rwx = lshr i64 %pte, {RIGHTS_SHIFT}
%flag.mxr = and i64 %flags, {WALK_MXR}
%executable = and i64 %rwx, %flag.mxr
%mxr = lshr i64 %executable, {(WALK_MXR // READ).bit_length() - 1}
%rights = or i64 %rwx, %mxr
%bit.user = and i64 %pte, {PTE_U}
%of.user = icmp ne i64 %bit.user, 0
%flag.user = and i64 %flags, {WALK_USER}
%by.user = icmp ne i64 %flag.user, 0
%flag.sum = and i64 %flags, {WALK_SUM}
%has.sum = icmp ne i64 %flag.sum, 0
%with.sum = select i1 %has.sum, i64 {READ | WRITE}, i64 0
%of.user.mask = select i1 %by.user, i64 {READ | WRITE | EXECUTE}, i64 %with.sum
%of.supervisor.mask = select i1 %by.user, i64 0, i64 {READ | WRITE | EXECUTE}
%who = select i1 %of.user, i64 %of.user.mask, i64 %of.supervisor.mask
%granted = and i64 %rights, %who
{_allows("%may", "%granted")}
%is.well.formed = xor i1 %is.malformed, true
%passes = and i1 %may, %is.well.formed
br i1 %passes, label %bits.wanted, label %out"""


def _update() -> str:
    """A, and D for a write; when the entry of the table has changed meanwhile it is judged anew."""
    return f"""\
bits.wanted:
%is.write = icmp eq i64 %kind, {WRITE_TAG}
%wanted = select i1 %is.write, i64 {PTE_A | PTE_D}, i64 {PTE_A}
%pte.marked = or i64 %pte, %wanted
%is.marked = icmp eq i64 %pte.marked, %pte
br i1 %is.marked, label %leaf.granted, label %mark
mark:
%pte.write = and i8 %pte.frame, {WRITE}
%pte.writable = icmp ne i8 %pte.write, 0
%marks = and i1 %pte.writable, %first
br i1 %marks, label %update, label %out
update:
%exchange = cmpxchg ptr %pte.p, i64 %pte, i64 %pte.marked seq_cst monotonic, align 8
%pte.seen = extractvalue {{ i64, i1 }} %exchange, 0
%exchanged = extractvalue {{ i64, i1 }} %exchange, 1
br i1 %exchanged, label %leaf.granted, label %judge"""


def _granted(layout: Layout) -> str:
    """Writes get no tag before D is set, or they would not set it."""
    return f"""\
leaf.granted:
%dirty = and i64 %pte.marked, {PTE_D}
%is.clean = icmp eq i64 %dirty, 0
%without.write = and i64 %granted, {READ | EXECUTE}
%by.table = select i1 %is.clean, i64 %without.write, i64 %granted
{word(layout, "%large", "walk_large")}
%large.new = or i64 %large, %depth
store i64 %large.new, ptr %large.p, align 8
%inside = and i64 %at, %low.mask
%leaf.paddr = or i64 %target, %inside
br label %frame"""


def _frame() -> str:
    """What memory allows; a frame that can be written can be read, as on Linux."""
    tags = "\n".join(
        f"""\
%right.{tag} = and i64 %final, {1 << tag}
%lacks.{tag} = icmp eq i64 %right.{tag}, 0
%made.{tag} = select i1 %lacks.{tag}, i64 {NONE}, i64 %page"""
        for tag in TAGS
    )
    return f"""\
frame:
%paddr = phi i64 [ %at, %walk ], [ %leaf.paddr, %leaf.granted ]
%table.rights = phi i64 [ {READ | WRITE | EXECUTE}, %walk ], [ %by.table, %leaf.granted ]
%is.within = icmp ult i64 %paddr, {MEMORY}
br i1 %is.within, label %known, label %out
known:
%frame.number = lshr i64 %paddr, {PAGE_BITS}
%frame.p = getelementptr i8, ptr %frames, i64 %frame.number
%frame.byte = load i8, ptr %frame.p, align 1
%frame.rights = zext i8 %frame.byte to i64
%frame.write = and i64 %frame.rights, {WRITE}
%frame.read = lshr i64 %frame.write, {(WRITE // READ).bit_length() - 1}
%frame.all = or i64 %frame.rights, %frame.read
%final = and i64 %table.rights, %frame.all
{_allows("%finally", "%final")}
br i1 %finally, label %fill, label %out
fill:
%made.3 = sub i64 %paddr, %at
{tags}
br label %install"""


def _install() -> str:
    """The new entry replaces one of the same page, or sends that of another page to the victims."""
    words = "\n".join(
        f"%new.{i} = phi i64 [ %victim.{i}, %promote ], [ %made.{i}, %fill ]" for i in range(TLB_ENTRY_SIZE // WORD)
    )
    return f"""\
install:
{words}
%space = phi i64 [ %number, %promote ], [ %room, %fill ]
%old.empty = icmp eq i64 %old.page, {NONE}
%old.same = icmp eq i64 %old.page, %page
%old.ends = or i1 %old.empty, %old.same
br i1 %old.ends, label %put, label %displace"""


def _displace(layout: Layout) -> str:
    """Which victim goes; an empty one first."""
    return f"""\
displace:
%is.full = icmp eq i64 %space, {NONE}
%evicted = zext i1 %is.full to i64
{_count(layout, "tlb_evictions", "%evicted")}
br i1 %no.victims, label %put, label %which
which:
%flag.lru = and i64 %policy, {TLB_LRU}
%by.use = icmp ne i64 %flag.lru, 0
br i1 %by.use, label %order, label %by.chance.or.age
by.chance.or.age:
br i1 %is.full, label %choose, label %send"""


def _shift() -> str:
    """Victims in the order of their use, the last used first: those before the one that goes move on."""
    return f"""\
order:
%last = add i64 %victim_count, -1
%goes = select i1 %is.full, i64 %last, i64 %space
br label %advance
advance:
%position = phi i64 [ %goes, %order ], [ %position.before, %move ]
%at.front = icmp eq i64 %position, 0
br i1 %at.front, label %send, label %move
move:
%position.before = add i64 %position, -1
%from.offset = shl i64 %position.before, {ENTRY_SHIFT}
%from = getelementptr i8, ptr %victims, i64 %from.offset
%to = getelementptr i8, ptr %from, i64 {TLB_ENTRY_SIZE}
{_entry_words("%from", "moved")}
{_store_entry("%to", "%moved", "to")}
br label %advance"""


def _choose(layout: Layout) -> str:
    """The next in turn, or by chance: Marsaglia's xorshift, 64 bits, of which the upper half is scaled to the count."""
    return f"""\
choose:
{word(layout, "%turn", "victim_next")}
%flag.random = and i64 %policy, {TLB_RANDOM}
%by.chance = icmp ne i64 %flag.random, 0
br i1 %by.chance, label %chance, label %in.turn
in.turn:
%turn.next = add i64 %turn, 1
%turn.ends = icmp uge i64 %turn.next, %victim_count
%turn.new = select i1 %turn.ends, i64 0, i64 %turn.next
br label %chosen
chance:
%x.a = shl i64 %turn, 13
%x.b = xor i64 %turn, %x.a
%x.c = lshr i64 %x.b, 7
%x.d = xor i64 %x.b, %x.c
%x.e = shl i64 %x.d, 17
%x.f = xor i64 %x.d, %x.e
%x.high = lshr i64 %x.f, 32
%x.scaled = mul i64 %x.high, %victim_count
%x.number = lshr i64 %x.scaled, 32
br label %chosen
chosen:
%choice = phi i64 [ %turn, %in.turn ], [ %x.number, %chance ]
%turn.left = phi i64 [ %turn.new, %in.turn ], [ %x.f, %chance ]
store i64 %turn.left, ptr %turn.p, align 8
br label %send"""


def _fill() -> str:
    """The old entry goes to its place among the victims, the new one into the entries."""
    return f"""\
send:
%where = phi i64 [ %choice, %chosen ], [ %space, %by.chance.or.age ], [ 0, %advance ]
%where.offset = shl i64 %where, {ENTRY_SHIFT}
%where.p = getelementptr i8, ptr %victims, i64 %where.offset
{_store_entry("%where.p", "%old", "sent")}
br label %put
put:
{_store_entry("%entry", "%new", "put")}
%offset = add i64 %at, %new.3
br i1 %first, label %maybe.more, label %made.ahead"""


def _next(layout: Layout) -> str:
    """The page after this one, when entries are made ahead."""
    return f"""\
maybe.more:
%flag.prefetch = and i64 %policy, {TLB_PREFETCH}
%more = icmp ne i64 %flag.prefetch, 0
br i1 %more, label %ahead, label %over
ahead:
%next = add i64 %page, {PAGE}
br label %probe
made.ahead:
{_count(layout, "tlb_prefetches", "1")}
ret i64 %result
over:
ret i64 %offset"""
