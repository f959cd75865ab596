// A bytecode interpreter with one switch: a table of jumps, and a single indirect jump. Prints a checksum.
// args: 3
#include "bytecode.h"

static __attribute__((noinline)) void interpret(uint64_t r[16], uint64_t memory[CELLS]) {
    for (const struct instruction *i = program;; i++)
        switch (i->operation) {
#define CASE(name, effect)                                                                                             \
    case name: effect; break;
            OPERATIONS(CASE)
        default: return;
        }
}
