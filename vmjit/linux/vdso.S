# The vDSO of guest programs: the functions that Linux's own has on riscv64, each of which makes the system call.
# Native code makes that of a clock itself, so there is little to gain by reading one here.
# `python tests/programs/build.py` makes linux-vdso.so.1 of it, which is what users have: it needs a cross compiler.

    .text

# What signal handlers return to. Unwinders know a frame by these two instructions, so there is nothing about it in
# .eh_frame, and it comes first: they look for what holds the byte before a return address.
    .globl __vdso_rt_sigreturn
    .type __vdso_rt_sigreturn, @function
__vdso_rt_sigreturn:
    li a7, 139
    ecall
    .size __vdso_rt_sigreturn, . - __vdso_rt_sigreturn

.macro call name, number
    .balign 16
    .globl \name
    .type \name, @function
\name:
    .cfi_startproc
    li a7, \number
    ecall
    ret
    .cfi_endproc
    .size \name, . - \name
.endm

    call __vdso_clock_gettime, 113
    call __vdso_clock_getres, 114
    call __vdso_getcpu, 168
    call __vdso_gettimeofday, 169
    call __vdso_riscv_hwprobe, 258
    call __vdso_flush_icache, 259
