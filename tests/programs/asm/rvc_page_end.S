# A four-byte instruction that starts in the last halfword of a page, first executed once, then in a hot loop.
    .include "print.inc"
    .globl _start
    .text
_start:
    li s0, 1
    li s1, 0
    j crossing_loop
    .balign 4096
    .zero 4092
    .option push
    .option rvc
crossing_loop:
    c.nop
    .option norvc
    addi s1, s1, 1000                   # at page offset 4094
    .option pop
    addi s0, s0, -1
    bgtz s0, crossing_loop
    mv a0, s1
    call print_hex
    call newline
    li t0, 1000
    bne s1, t0, 1f
    li s0, 100000
    j crossing_loop
1:  li a0, 0
    call finish
