// A register machine and a program for it, for the kernels that interpret it: with a switch, and with computed goto.
#include "kernel.h"

// What an instruction i does to the registers r and to the memory.
#define OPERATIONS(_)                                                                                                  \
    _(SET, r[i->a] = (uint64_t)i->value)                                                                               \
    _(ADD, r[i->a] = r[i->b] + r[i->c])                                                                                \
    _(XOR, r[i->a] = r[i->b] ^ r[i->c])                                                                                \
    _(MULTIPLY, r[i->a] = r[i->b] * r[i->c])                                                                           \
    _(ADD_VALUE, r[i->a] = r[i->b] + (uint64_t)i->value)                                                               \
    _(AND_VALUE, r[i->a] = r[i->b] & (uint64_t)i->value)                                                               \
    _(RIGHT, r[i->a] = r[i->b] >> i->value)                                                                            \
    _(LOAD, r[i->a] = memory[r[i->b] % CELLS])                                                                         \
    _(STORE, memory[r[i->b] % CELLS] = r[i->a])                                                                        \
    _(JUMP, i += i->value)                                                                                             \
    _(JUMP_IF_ZERO, i += r[i->a] ? 0 : i->value)                                                                       \
    _(JUMP_IF_LESS, i += r[i->a] < r[i->b] ? i->value : 0)

enum { CELLS = 256 };

#define NAME(name, effect) name,
enum operation { OPERATIONS(NAME) STOP };

struct instruction {
    uint8_t operation, a, b, c;
    int32_t value; // for jumps: how many instructions after the next one
};

// How many steps the numbers from r[1] below r[2] take to reach 1 by halving and 3 n + 1; how many take as many.
static const struct instruction program[] = {
    {SET, 8, .value = 1},
    {SET, 9, .value = 3},
    {ADD_VALUE, 3, 1, .value = 0},      // number:
    {SET, 4, .value = 0},
    {JUMP_IF_LESS, 8, 3, .value = 4},   // step:
    {LOAD, 5, 4},                       // arrived at 1 after r[4] steps
    {ADD_VALUE, 5, 5, .value = 1},
    {STORE, 5, 4},
    {JUMP, .value = 8},                 // to next
    {ADD_VALUE, 4, 4, .value = 1},
    {AND_VALUE, 6, 3, .value = 1},
    {JUMP_IF_ZERO, 6, .value = 3},
    {MULTIPLY, 3, 3, 9},
    {ADD, 3, 3, 8},
    {JUMP, .value = -11},               // to step
    {RIGHT, 3, 3, .value = 1},
    {JUMP, .value = -13},               // to step
    {XOR, 7, 7, 4},                     // next:
    {ADD_VALUE, 1, 1, .value = 1},
    {JUMP_IF_LESS, 1, 2, .value = -18}, // to number
    {STOP},
};

// What a kernel defines: runs `program` from the state of the registers to its end.
static void interpret(uint64_t r[16], uint64_t memory[CELLS]);

static void kernel(long rounds) {
    enum { NUMBERS = 1000 }; // in a round
    static uint64_t memory[CELLS];
    uint64_t r[16] = {0}, checksum = 0;
    for (long round = 0; round < rounds; round++) {
        r[1] = (uint64_t)round * NUMBERS + 1;
        r[2] = r[1] + NUMBERS;
        interpret(r, memory);
        checksum = checksum * 31 + r[7];
    }
    for (int i = 0; i < CELLS; i++)
        checksum = checksum * 31 + memory[i];
    print("checksum ");
    print_hex(checksum);
}
