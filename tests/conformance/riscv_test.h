// The environment that the sources of riscv-tests expect, for a user's program under Linux.
//
// A source brings its checks and finds here what begins, ends and decides them. A test that passes calls exit(0); one
// that fails calls exit with the number of the failing case. What runs past its end dies of an illegal instruction.

#ifndef VMJIT_CONFORMANCE_RISCV_TEST_H
#define VMJIT_CONFORMANCE_RISCV_TEST_H

#define TESTNUM gp
#define EXIT 93        // the system call
#define LARGEST 255    // exit status

// The first line of a source says what it needs: floating point is there for a user from the start, and begins with
// rounding to nearest and no flag raised.
#define RVTEST_RV64U \
    .macro set_up; \
    .endm
#define RVTEST_RV64UF \
    .macro set_up; \
    csrwi fcsr, 0; \
    .endm

// Registers are zero but for sp under Linux; sources that count on it get all of them zero.
#define RVTEST_CODE_BEGIN \
    .text; \
    .balign 64; \
    .globl _start; \
_start: \
    .irp number, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16; \
    mv x\number, zero; \
    .endr; \
    .irp number, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31; \
    mv x\number, zero; \
    .endr; \
    set_up; \
    JUMP_TO_NEXT;

#define RVTEST_CODE_END unimp

#define RVTEST_PASS \
    mv a0, zero; \
    addi a7, zero, EXIT; \
    ecall

// Neither case 0 nor case 256 may look like success.
#define RVTEST_FAIL \
    addi a0, zero, LARGEST; \
    beqz TESTNUM, 91f; \
    bgeu TESTNUM, a0, 91f; \
    mv a0, TESTNUM; \
91: addi a7, zero, EXIT; \
    ecall

// A source opens .data itself.
#define RVTEST_DATA_BEGIN .balign 16;
#define RVTEST_DATA_END .balign 16;

// Regions are compiled where a jump leads, but most cases follow each other in a straight line. `bne` ends each, so with
// a jump to the instruction behind it the next case is compiled before it runs, in the tier that compiles at once.
// As a number, because with .option rvc the assembler would make a jump of two bytes.
#define JUMP_TO_NEXT .word 0x0040006f // jal zero, .+4
#define bne JUMP_TO_NEXT; bne

// A region in which all operands are constants is folded before there is any host code. With LOADED_OPERANDS the same
// numbers come from memory.
#ifdef LOADED_OPERANDS
.macro load_constant rd, value
    .pushsection .data
    .balign 8
.Lconstant\@: .dword \value
    .popsection
    ld \rd, .Lconstant\@
.endm
#define li load_constant
#endif

// Assemblers before binutils 2.41 do not know Zicond.
.macro czero.eqz rd, rs1, rs2
    .insn r 0x33, 0x5, 0x07, \rd, \rs1, \rs2
.endm
.macro czero.nez rd, rs1, rs2
    .insn r 0x33, 0x7, 0x07, \rd, \rs1, \rs2
.endm

#endif
