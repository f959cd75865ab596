# Every instruction of Zba, Zbb and Zbs over a table of operands: a line of results for each.
# expected: by hand
# march: rv64gc_zba_zbb_zbs
# The stored output is that of qemu-riscv64 but for ctzw, which qemu before 8.0 takes of all 64 bits.
    .include "print.inc"
    .globl _start

.macro BINARY mnemonic
    TEXT "\mnemonic"
    la s0, pairs
1:  ld a1, 0(s0)
    ld a2, 8(s0)
    \mnemonic s1, a1, a2
    call print_space
    mv a0, s1
    call print_hex
    addi s0, s0, 8
    la t0, pairs_end - 8
    bltu s0, t0, 1b
    call newline
.endm

.macro UNARY mnemonic
    TEXT "\mnemonic"
    la s0, pairs
1:  ld a1, 0(s0)
    \mnemonic s1, a1
    call print_space
    mv a0, s1
    call print_hex
    addi s0, s0, 8
    la t0, pairs_end
    bltu s0, t0, 1b
    call newline
.endm

.macro SHIFT mnemonic, amount
    TEXT "\mnemonic \amount"
    la s0, pairs
1:  ld a1, 0(s0)
    \mnemonic s1, a1, \amount
    call print_space
    mv a0, s1
    call print_hex
    addi s0, s0, 8
    la t0, pairs_end
    bltu s0, t0, 1b
    call newline
.endm

    .text
_start:
    .irp mnemonic, add.uw, sh1add, sh2add, sh3add, sh1add.uw, sh2add.uw, sh3add.uw
    BINARY \mnemonic
    .endr
    .irp mnemonic, andn, orn, xnor, max, maxu, min, minu, rol, rolw, ror, rorw
    BINARY \mnemonic
    .endr
    .irp mnemonic, bclr, bext, binv, bset
    BINARY \mnemonic
    .endr
    .irp mnemonic, clz, clzw, ctz, ctzw, cpop, cpopw, sext.b, sext.h, zext.h, zext.w, orc.b, rev8
    UNARY \mnemonic
    .endr
    .irp mnemonic, slli.uw, rori, bclri, bexti, binvi, bseti
    SHIFT \mnemonic, 0
    SHIFT \mnemonic, 1
    SHIFT \mnemonic, 31
    SHIFT \mnemonic, 32
    SHIFT \mnemonic, 63
    .endr
    SHIFT roriw, 0
    SHIFT roriw, 1
    SHIFT roriw, 31
    li a0, 0
    call finish

    .section .rodata
    .balign 8
pairs:
    .dword 0, 0, 1, -1, 0x8000000000000000, 0x7fffffffffffffff, 0x80000000, 0xffffffff, 63, 0x0123456789abcdef
    .dword 32, 0xfedcba9876543210, 0x00ff00010080ff00, 31, 0xffffffff00000000, 0x8000, 0x7f, 0x8080, 0x5555555555555555, -64
pairs_end:
