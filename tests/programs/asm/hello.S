# One write and one exit: the smallest program with output.
    .globl _start
    .section .rodata
text:
    .ascii "Hello from RISC-V\n"
    .equ length, . - text

    .text
_start:
    li a0, 1
    la a1, text
    li a2, length
    li a7, 64                           # write
    ecall
    li a0, 0
    li a7, 93                           # exit
    ecall
