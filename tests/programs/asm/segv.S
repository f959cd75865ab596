# Stores to good memory 100,000 times, then lets the same hot store meet an unmapped address: ends by SIGSEGV.
# exit: 139
    .include "print.inc"
    .globl _start
    .text
_start:
    TEXT "before"
    call newline
    li s0, 100000
    la s1, cell
    li s2, 0x10
    slli s2, s2, 32                     # 64 GiB: nothing is mapped there
loop:
    sd s0, 0(s1)
    addi s0, s0, -1
    bgtz s0, loop
    mv s1, s2
    bgtz s2, loop
    TEXT "after"
    call newline
    li a0, 1
    call finish

    .bss
cell:
    .zero 8
