# Executes the all-zero halfword, which the manual defines to be illegal: the program ends by SIGILL.
# exit: 132
    .include "print.inc"
    .globl _start
    .text
_start:
    TEXT "before"
    call newline
    .half 0
    TEXT "after"
    call newline
    li a0, 1
    call finish
