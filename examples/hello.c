// Greets, and shows the arguments it was given.
// args: one "two words"
#include "freestanding.h"

static int run(int argc, char **argv) {
    print("Hello from a RISC-V program!\n");
    for (int i = 1; i < argc; i++) {
        print("  argument ");
        print_number((unsigned long)i);
        print(": ");
        print(argv[i]);
        print("\n");
    }
    return 0;
}
