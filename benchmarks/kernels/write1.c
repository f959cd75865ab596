// Writes of one byte to /dev/null: a system call that does next to nothing, over and over. Prints how many were done.
// args: 3
#include "system.h"

enum { CALLS = 5000 }; // in a round

static void kernel(long rounds) {
    long null = system_call(OPENAT, AT_FDCWD, (long)"/dev/null", O_WRONLY), written = 0;
    for (long i = 0; i < rounds * CALLS; i++)
        written += system_call(WRITE, null, (long)"x", 1);
    print_number((unsigned long)written);
    print(" bytes");
}
