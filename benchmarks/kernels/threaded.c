// A bytecode interpreter with computed goto: an indirect jump at the end of each operation. Prints a checksum.
// args: 3
#include "bytecode.h"

static __attribute__((noinline)) void interpret(uint64_t r[16], uint64_t memory[CELLS]) {
#define ADDRESS(name, effect) &&do_##name,
    static const void *const places[] = {OPERATIONS(ADDRESS) &&do_STOP};
    const struct instruction *i = program;
    goto *places[i->operation];
#define PLACE(name, effect)                                                                                            \
    do_##name:                                                                                                         \
    effect;                                                                                                            \
    i++;                                                                                                               \
    goto *places[i->operation];
    OPERATIONS(PLACE)
do_STOP:
    return;
}
