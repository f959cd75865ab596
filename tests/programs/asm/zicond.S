# Zicond: czero.eqz and czero.nez, in raw encoding as older assemblers do not know them.
# expected: by hand
    .include "print.inc"
    .globl _start

.macro CASE funct3, value, condition    # the instruction with funct3 over (value, condition)
    li a1, \value
    li a2, \condition
    .insn r 0x33, \funct3, 7, s1, a1, a2
    mv a0, s1
    call print_hex
    call newline
.endm

    .text
_start:
    TEXT "czero.eqz"
    call newline
    CASE 5, 0x123456789abcdef0, 0
    CASE 5, 0x123456789abcdef0, 1
    CASE 5, -1, 0x8000000000000000
    CASE 5, -1, 0x100000000
    TEXT "czero.nez"
    call newline
    CASE 7, 0x123456789abcdef0, 0
    CASE 7, 0x123456789abcdef0, 1
    CASE 7, -1, 0x8000000000000000
    CASE 7, -1, 0
    li a1, 5                            # destination and source the same
    li a2, 0
    .insn r 0x33, 5, 7, a1, a1, a2
    mv a0, a1
    call print_hex
    call newline
    li a0, 0
    call finish
