# Code that changes while it runs: written to memory, overwritten, remapped, made writable and executable in turns.
# Each step that goes wrong ends the program with its number; all good: prints ok and exits 0.
    .include "print.inc"
    .globl _start

    .equ SYS_MUNMAP, 215
    .equ SYS_MMAP, 222
    .equ SYS_MPROTECT, 226
    .equ SYS_FLUSH_ICACHE, 259

.macro STEP number                      # a0 must equal a1
    li s11, \number
    bne a0, a1, wrong
.endm

    .text
_start:
    li s0, 0x40000000                   # where the code lives
    call map_rwx

    li a0, 1                            # 1: written, run
    call write_constant
    fence.i
    jalr s0
    li a1, 1
    STEP 1

    li a0, 2                            # 2: overwritten, run again
    call write_constant
    fence.i
    jalr s0
    li a1, 2
    STEP 2

    li a0, 3                            # 3: called often enough to be compiled
    call write_constant
    fence.i
    call call_often
    li a1, 3 * 200000
    STEP 3
    li a0, 5                            # 4: the compiled code is overwritten
    call write_constant
    fence.i
    call call_often
    li a1, 5 * 200000
    STEP 4

    li a0, 7                            # 5: a loop inside the written code
    call write_loop
    fence.i
    li a0, 200000
    jalr s0
    li a1, 7 * 200000
    STEP 5
    li a0, 11                           # 6: the loop's body is overwritten
    call write_loop
    fence.i
    li a0, 200000
    jalr s0
    li a1, 11 * 200000
    STEP 6

    mv a0, s0                           # 7: unmapped, mapped again at the same address with other code
    li a1, 8192
    li a7, SYS_MUNMAP
    ecall
    call map_rwx
    li a0, 13
    call write_constant
    fence.i
    call call_often
    li a1, 13 * 200000
    STEP 7

    li s2, 40                           # 8: writable and executable in turns
    li s3, 0
1:  li a2, 3                            # PROT_READ | PROT_WRITE
    call protect
    mv a0, s2
    call write_constant
    li a2, 5                            # PROT_READ | PROT_EXEC
    call protect
    fence.i
    jalr s0
    add s3, s3, a0
    addi s2, s2, -1
    bgtz s2, 1b
    mv a0, s3
    li a1, 40 * 41 / 2
    STEP 8

    li a2, 7                            # 9: the system call instead of fence.i
    call protect
    li a0, 17
    call write_constant
    mv a0, s0
    addi a1, s0, 16
    li a2, 0
    li a7, SYS_FLUSH_ICACHE
    ecall
    call call_often
    li a1, 17 * 200000
    STEP 9

    la a0, patch                        # 10: code that overwrites the instruction after its own fence.i
    li t0, -4096
    and a0, a0, t0
    li a1, 8192
    li a2, 7
    li a7, SYS_MPROTECT
    ecall
    li a1, 0
    STEP 9
    li s2, 0
    li s3, 0
2:  andi a0, s2, 1023
    slli a0, a0, 20
    li t0, 0x00000513                   # li a0, s2 & 1023
    or a0, a0, t0
    la t1, patch
    sw a0, 0(t1)
    fence.i
    .option push
    .option norvc
    .balign 4
patch:
    li a0, 0
    .option pop
    add s3, s3, a0
    addi s2, s2, 1
    li t0, 2000
    blt s2, t0, 2b
    mv a0, s3
    li a1, 1023 * 1024 / 2 + 976 * 975 / 2
    STEP 10

    TEXT "ok"
    call newline
    li a0, 0
    call finish
wrong:
    mv a0, s11
    call finish

map_rwx:
    mv a0, s0
    li a1, 8192
    li a2, 7                            # PROT_READ | PROT_WRITE | PROT_EXEC
    li a3, 0x32                         # MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS
    li a4, -1
    li a5, 0
    li a7, SYS_MMAP
    ecall
    beq a0, s0, 1f
    li s11, 100
    j wrong
1:  ret

protect:                                # a2: permissions
    mv a0, s0
    li a1, 4096
    li a7, SYS_MPROTECT
    ecall
    beqz a0, 1f
    li s11, 101
    j wrong
1:  ret

write_constant:                         # li a0, <a0>; ret
    slli a0, a0, 20
    li t0, 0x00000513
    or a0, a0, t0
    sw a0, 0(s0)
    li t0, 0x00008067
    sw t0, 4(s0)
    ret

write_loop:                             # t1 = 0; do t1 += <a0> while --a0; return t1
    slli a0, a0, 20
    li t0, 0x00030313                   # addi t1, t1, <a0>
    or a0, a0, t0
    li t0, 0x00000313                   # li t1, 0
    sw t0, 0(s0)
    sw a0, 4(s0)
    li t0, 0xfff50513                   # addi a0, a0, -1
    sw t0, 8(s0)
    li t0, 0xfe051ce3                   # bnez a0, .-8
    sw t0, 12(s0)
    li t0, 0x00030513                   # mv a0, t1
    sw t0, 16(s0)
    li t0, 0x00008067                   # ret
    sw t0, 20(s0)
    ret

call_often:                             # a0: the sum of 200,000 calls
    mv s4, ra
    li s5, 200000
    li s6, 0
1:  jalr s0
    add s6, s6, a0
    addi s5, s5, -1
    bgtz s5, 1b
    mv a0, s6
    jr s4
