# Every atomic memory operation in words and doublewords, with ordering bits, and load-reserved / store-conditional.
# A line: the mnemonic, then for each pair of memory and operand the old value (rd) and the new memory.
    .include "print.inc"
    .globl _start

.macro AMO mnemonic
    TEXT "\mnemonic"
    la s0, values
1:  ld t0, 0(s0)
    ld a2, 8(s0)
    la s2, cell
    sd t0, 0(s2)
    \mnemonic s1, a2, (s2)
    call print_space
    mv a0, s1
    call print_hex
    call print_space
    ld a0, 0(s2)
    call print_hex
    addi s0, s0, 8
    la t0, values_end - 8
    bltu s0, t0, 1b
    call newline
.endm

.macro SHOW register
    call print_space
    mv a0, \register
    call print_hex
.endm

.macro RESERVED suffix, order_lr, order_sc
    TEXT "lr.\suffix\order_lr sc.\suffix\order_sc"
    la s0, cell
    li t0, 0x89abcdef87654321
    sd t0, 0(s0)
    li s4, 0x1111222233334444
1:  lr.\suffix\order_lr s1, (s0)
    sc.\suffix\order_sc s2, s4, (s0)
    bnez s2, 1b
    sc.\suffix\order_sc s3, zero, (s0)  # no reservation is left: must fail
    snez s3, s3
    ld s5, 0(s0)
    SHOW s1
    SHOW s2
    SHOW s3
    SHOW s5
    call newline
.endm

    .text
_start:
    .irp mnemonic, amoswap, amoadd, amoxor, amoand, amoor, amomin, amomax, amominu, amomaxu
    AMO \mnemonic\().w
    AMO \mnemonic\().d
    AMO \mnemonic\().w.aq
    AMO \mnemonic\().d.aqrl
    .endr
    RESERVED w
    RESERVED d
    RESERVED w, .aq, .rl
    RESERVED d, .aqrl, .aqrl
    TEXT "same register"
    la s0, cell
    li s1, 40
    sd s1, 0(s0)
    li s1, 2
    amoadd.d s1, s1, (s0)
    SHOW s1
    li s2, 5
    amoadd.d zero, s2, (s0)
    ld s2, 0(s0)
    SHOW s2
    mv s3, s0
    amoswap.d s3, s3, (s3)
    SHOW s3
    call newline
    TEXT "counter"
    sd zero, 0(s0)
    li s1, 20000
    li s2, 3
2:  amoadd.w.aqrl s3, s2, (s0)
    addi s1, s1, -1
    bgtz s1, 2b
    ld s4, 0(s0)
    SHOW s3
    SHOW s4
    call newline
    li a0, 0
    call finish

    .bss
    .balign 16
cell:
    .zero 16

    .section .rodata
    .balign 8
values:
    .dword 0, 1, -1, 0x7fffffff, 0x80000000, 0x7fffffffffffffff, 0x8000000000000000, 0x123456789abcdef0, 0xfffffffe00000001, 5
    .dword 0xffffffff00000003, 0x80000000ffffffff, 0x00000001
values_end:
