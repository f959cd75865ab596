"""A page table and a device: a loop behind Sv39 writes to a port that Python answers for, then touches nothing."""

from vmjit.board import Board, Translation
from vmjit.guest.riscv.instructions import rv64
from vmjit.memory.mmu import PTE_R, PTE_V, PTE_W, PTE_X, SV39

RAM, PORT = 0x8000_0000, 0x1000_0000
ROOT, CODE, TEXT = RAM, RAM + 0x1000, RAM + 0x2000
GIB = 1 << 30
written = bytearray()

program = (
    "lbu t0, 0(a1)",
    "beq t0, zero, 0x80001014",
    "sb t0, 0(a0)",
    "addi a1, a1, 1",
    "jal zero, 0x80001000",
    "ld t1, 0(a2)",
)

with Board() as board:
    board.bus.add_ram(RAM, 1 << 20)
    board.bus.add_device(PORT, 4096, read=lambda at, size: 0, write=lambda at, size, value: written.append(value))
    table = board.bus.view(ROOT, 512, "<u8")
    table[0] = PTE_R | PTE_W | PTE_V  # the first GiB is itself: the port
    table[2] = RAM >> 2 | PTE_R | PTE_W | PTE_X | PTE_V  # so is the third: RAM
    table[256] = RAM >> 2 | PTE_R | PTE_V  # and the lowest addresses of the upper half show RAM once more
    board.write(CODE, b"".join(rv64.assemble(line, CODE + 4 * n) for n, line in enumerate(program)))
    board.write(TEXT, b"through a page table\0")
    board.translate(Translation(SV39, ROOT))
    upper = -256 * GIB
    stop = board.run(CODE, {"x10": PORT, "x11": upper + TEXT - RAM, "x12": 5 * GIB})
    print(written.decode(), f"| stopped by exception {stop.cause} on {stop.argument:#x}")
    print(board.hart.tlb.statistics() if board.hart.tlb else "")
