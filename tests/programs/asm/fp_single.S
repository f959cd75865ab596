# Every single-precision arithmetic, comparison and sign instruction over special values, in every rounding mode.
    .include "fp.inc"
    .globl _start
    .text
_start:
    .irp mnemonic, fadd, fsub, fmul, fdiv
    ALL_MODES \mnemonic\().s, 2, values
    .endr
    ALL_MODES fsqrt.s, 1, values
    .irp mnemonic, fmadd, fmsub, fnmadd, fnmsub
    ALL_MODES \mnemonic\().s, 3, values
    .endr
    .irp mnemonic, fmin, fmax, fsgnj, fsgnjn, fsgnjx
    UNROUNDED \mnemonic\().s, values
    .endr
    .irp mnemonic, feq, flt, fle
    COMPARE \mnemonic\().s, values
    .endr
    TO_REGISTER fclass.s, values
    TO_REGISTER fmv.x.w, values
    EXACT_FROM_INTEGER fmv.w.x, values
    li a0, 0
    call finish

.macro SINGLE bits
    .word \bits, -1
.endm

    .section .rodata
    .balign 8
values:
    .irp bits, 0x3f800000, 0x40400000, 0x00000001, 0x00800000, 0x007fffff, 0x7f7fffff, 0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000
    SINGLE \bits
    .endr
    .irp bits, 0x00000000, 0x7f800000, 0x7fc00000, 0x3f800000, 0x7f800001, 0xffc12345, 0x80000000, 0x00000000, 0x80000000, 0x80000001
    SINGLE \bits
    .endr
    .irp bits, 0xbf800000, 0x3f000001, 0x33800000, 0x3f800000, 0xb3800000, 0x3f7fffff, 0x3eaaaaab, 0x00ffffff, 0x3f7ffffe, 0x1f000001
    SINGLE \bits
    .endr
    .irp bits, 0x3f800001, 0x3f800001, 0xbf800002, 0x2f800000
    SINGLE \bits
    .endr
    .dword 0x3f800000                   # not boxed: reads as the canonical NaN
    SINGLE 0x3f800000
values_end:
