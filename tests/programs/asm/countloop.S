# A loop whose number of executed instructions is known exactly: the absolute symbol `instructions` holds it.
# Every instruction is a single one (no pseudo-instruction that may expand), compressed forms are off.
    .option norvc
    .globl _start
    .globl instructions
    .equ iterations, 100 << 12
    .equ instructions, 1 + 3 * iterations + 3
    .text
_start:
    lui t0, 100                         # iterations
loop:
    addi t0, t0, -1
    xor t1, t1, t0
    bne t0, zero, loop
    addi a0, zero, 0
    addi a7, zero, 93                   # exit
    ecall
