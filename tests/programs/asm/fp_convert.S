# Every floating-point conversion over special values, in every rounding mode; loads, stores and the control registers.
    .include "fp.inc"
    .globl _start
    .text
_start:
    .irp mnemonic, fcvt.w, fcvt.wu, fcvt.l, fcvt.lu
    TO_INTEGER \mnemonic\().s, singles
    TO_INTEGER \mnemonic\().d, doubles
    .endr
    .irp mnemonic, w, wu, l, lu
    FROM_INTEGER fcvt.s.\mnemonic, integers
    .endr
    .irp mnemonic, l, lu
    FROM_INTEGER fcvt.d.\mnemonic, integers
    .endr
    EXACT_FROM_INTEGER fcvt.d.w, integers
    EXACT_FROM_INTEGER fcvt.d.wu, integers
    ALL_MODES fcvt.s.d, 1, doubles
    .equ operands, 1
    TEXT "fcvt.d.s"
    LOOP_BEGIN singles
    fcvt.d.s fa0, fa1
    fmv.x.d s2, fa0
    LOOP_END
    TEXT "flw fsw"
    LOOP_BEGIN doubles
    flw fa0, 4(s0)
    fsw fa0, -16(sp)
    fsd fa0, -8(sp)
    lwu s2, -16(sp)
    ld t0, -8(sp)
    slli t0, t0, 3
    xor s2, s2, t0
    LOOP_END
    TEXT "control"
    .irp value, 0, 0xff, 0x1ff, 0x95, 0x60
    li t0, \value
    fscsr t0
    frcsr s2
    frrm t0
    slli t0, t0, 16
    or s2, s2, t0
    frflags s3
    call show_result
    .endr
    li t0, 0x4a
    fscsr t0
    fsflagsi s2, 5
    frcsr s3
    call show_result
    fsrmi s2, 1
    frcsr s3
    call show_result
    csrsi fflags, 8
    csrci frm, 1
    csrrs s2, fcsr, zero
    csrrwi s3, fcsr, 0
    call show_result
    call newline
    li a0, 0
    call finish

    .section .rodata
    .balign 8
.macro SINGLE value
    .float \value
    .word -1
.endm
.macro SINGLE_BITS bits
    .word \bits, -1
.endm
singles:
    .irp value, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, -0.25, -0.5, -0.75, -1.0, -1.5, -2.5, 8388607.5, 16777215
    SINGLE \value
    .endr
    .irp value, 2147483520, 2147483648, -2147483648, -2147483904, 4294967040, 4294967296
    SINGLE \value
    .endr
    .irp value, 9223371487098961920, 9223372036854775808, -9223372036854775808, -9223373136366403584, 18446742974197923840, 18446744073709551616
    SINGLE \value
    .endr
    .irp bits, 0x80000000, 0x00000001, 0x80000001, 0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc00000, 0x7f800001, 0xff812345
    SINGLE_BITS \bits
    .endr
    .dword 0x3f800000                   # not boxed
singles_end:

doubles:
    .double 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, -0.25, -0.5, -0.75, -1.0, -1.5, -2.5, 2147483647.0, 2147483647.25, 2147483647.5
    .double 2147483647.75, 2147483648.0, -2147483648.0, -2147483648.25, -2147483648.5, -2147483648.75, -2147483649.0
    .double 4294967295.0, 4294967295.25, 4294967295.5, 4294967296.0, 4503599627370495.5, 9007199254740994.0
    .double 9223372036854774784, 9223372036854775808, -9223372036854775808, -9223372036854777856
    .double 18446744073709549568, 18446744073709551616
    .dword 0x8000000000000000, 1, 0x8000000000000001, 0x7fefffffffffffff, 0xffefffffffffffff, 0x7ff0000000000000, 0xfff0000000000000
    .dword 0x7ff8000000000000, 0xfff8000000000000, 0x7ff0000000000001, 0xfff4000000000000
    .dword 0x3690000000000000, 0x3690000000000001, 0x36a0000000000000, 0x36a8000000000000, 0x380fffffe0000000, 0x380fffffc0000000
    .dword 0x380fffffd0000000, 0x380fffffefffffff, 0x380ffffff0000000, 0x47efffffe0000000, 0x47efffffefffffff, 0x47effffff0000000
    .dword 0x3ff0000010000000, 0x3ff0000030000000, 0xbff0000010000000, 0x3ff000000fffffff
doubles_end:

integers:
    .dword 0, 1, -1, 0x7fffffff, 0x80000000, 0xffffffff, -0x80000000, 0x1000001, 0x1000002, 0x1000003, -0x1000001
    .dword 0x20000000000001, 0x20000000000003, -0x20000000000003, 0x7fffffffffffffff, 0x8000000000000000, 0x7fffffbfffffffff
    .dword 0x7fffff4000000000, 0x8000008000000000, 0x8000008000000001, 0xfffffffffffffbff, 0xfffffffffffffc00, 0xffffff7fffffffff
    .dword 0x123456789abcdef0, 0x0000000100000001
integers_end:
