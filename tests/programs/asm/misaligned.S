# Misaligned loads and stores of every size, at every offset around a page boundary: they succeed and give right values.
    .include "print.inc"
    .globl _start

.macro LOADS mnemonic
    TEXT "\mnemonic"
    li s1, 4084
1:  add s2, s0, s1
    \mnemonic s3, 0(s2)
    call print_space
    mv a0, s3
    call print_hex
    addi s1, s1, 1
    li t0, 4100
    blt s1, t0, 1b
    call newline
.endm

.macro FLOAT_LOADS mnemonic, move
    TEXT "\mnemonic"
    li s1, 4087
1:  add s2, s0, s1
    \mnemonic fs0, 0(s2)
    call print_space
    \move a0, fs0
    call print_hex
    addi s1, s1, 1
    li t0, 4098
    blt s1, t0, 1b
    call newline
.endm

.macro STORES mnemonic, register
    TEXT "\mnemonic"
    li s1, 4087
1:  call fill
    add s2, s0, s1
    \mnemonic \register, 0(s2)
    call print_space
    call checksum
    call print_hex
    addi s1, s1, 1
    li t0, 4098
    blt s1, t0, 1b
    call newline
.endm

    .text
_start:
    la s0, area
    call fill
    LOADS lb
    LOADS lbu
    LOADS lh
    LOADS lhu
    LOADS lw
    LOADS lwu
    LOADS ld
    FLOAT_LOADS flw, fmv.x.w
    FLOAT_LOADS fld, fmv.x.d
    li s4, 0x1122334455667788
    fmv.d.x fs1, s4
    STORES sb, s4
    STORES sh, s4
    STORES sw, s4
    STORES sd, s4
    STORES fsw, fs1
    STORES fsd, fs1
    li a0, 0
    call finish

fill:                                   # the bytes around the boundary get a pattern
    li t0, 4072
    li t1, 0x9b
1:  add t2, s0, t0
    sb t1, 0(t2)
    addi t1, t1, 0x35
    addi t0, t0, 1
    li t3, 4120
    blt t0, t3, 1b
    ret

checksum:                               # a0: a hash of the bytes around the boundary
    li t0, 4072
    li a0, 0
1:  add t2, s0, t0
    lbu t1, 0(t2)
    slli t3, a0, 5
    add a0, a0, t3
    xor a0, a0, t1
    addi t0, t0, 1
    li t3, 4120
    blt t0, t3, 1b
    ret

    .bss
    .balign 4096
area:
    .zero 8192
