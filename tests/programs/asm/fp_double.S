# Every double-precision arithmetic, comparison and sign instruction over special values, in every rounding mode.
    .include "fp.inc"
    .globl _start
    .text
_start:
    .irp mnemonic, fadd, fsub, fmul, fdiv
    ALL_MODES \mnemonic\().d, 2, values
    .endr
    ALL_MODES fsqrt.d, 1, values
    .irp mnemonic, fmadd, fmsub, fnmadd, fnmsub
    ALL_MODES \mnemonic\().d, 3, values
    .endr
    .irp mnemonic, fmin, fmax, fsgnj, fsgnjn, fsgnjx
    UNROUNDED \mnemonic\().d, values
    .endr
    .irp mnemonic, feq, flt, fle
    COMPARE \mnemonic\().d, values
    .endr
    TO_REGISTER fclass.d, values
    TO_REGISTER fmv.x.d, values
    EXACT_FROM_INTEGER fmv.d.x, values
    li a0, 0
    call finish

    .section .rodata
    .balign 8
values:
    .dword 0x3ff0000000000000, 0x4008000000000000, 0x0000000000000001, 0x0010000000000000, 0x000fffffffffffff, 0x7fefffffffffffff
    .dword 0x7fefffffffffffff, 0xffefffffffffffff, 0x7ff0000000000000, 0xfff0000000000000, 0x0000000000000000, 0x7ff0000000000000
    .dword 0x7ff8000000000000, 0x3ff0000000000000, 0x7ff0000000000001, 0xfff8000012345678, 0x8000000000000000, 0x0000000000000000
    .dword 0x8000000000000000, 0x8000000000000001, 0xbff0000000000000, 0x3fe0000000000001, 0x3ca0000000000000, 0x3ff0000000000000
    .dword 0xbca0000000000000, 0x3fefffffffffffff, 0x3fd5555555555555, 0x001fffffffffffff, 0x3feffffffffffffe, 0x1ff0000000000001
    .dword 0x3ff0000000000001, 0x3ff0000000000001, 0xbff0000000000002, 0x3c90000000000000, 0xffffffff3f800000
values_end:
