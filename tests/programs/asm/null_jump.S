# Calls through a register that becomes zero after 50,000 good calls: ends by SIGSEGV.
# exit: 139
    .include "print.inc"
    .globl _start
    .text
_start:
    TEXT "before"
    call newline
    li s0, 50000
    la s1, callee
loop:
    jalr s1
    addi s0, s0, -1
    bgtz s0, loop
    li s1, 0
    jalr s1
    TEXT "after"
    call newline
    li a0, 1
    call finish

callee:
    addi s3, s3, 1
    ret
