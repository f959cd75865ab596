# Recursive Fibonacci with a frame per call: calls, returns and the return-address stack.
    .include "print.inc"
    .globl _start
    .text
_start:
    li a0, 21
    call fib
    call print_hex
    call newline
    li a0, 0
    call finish

fib:
    li t0, 2
    bltu a0, t0, 1f
    addi sp, sp, -32
    sd ra, 24(sp)
    sd s0, 16(sp)
    sd s1, 8(sp)
    mv s0, a0
    addi a0, a0, -1
    call fib
    mv s1, a0
    addi a0, s0, -2
    call fib
    add a0, a0, s1
    ld ra, 24(sp)
    ld s0, 16(sp)
    ld s1, 8(sp)
    addi sp, sp, 32
1:  ret
