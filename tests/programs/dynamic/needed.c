// The library that the program is linked with.
int shared_counter = 40;
__thread int local = 7;
static const char *const names[] = {"needed", "library"};

__attribute__((constructor)) static void begin(void) { shared_counter += 2; }

int twice(int (*function)(int), int value) { return function(function(value)); }

const char *who(void) { return names[shared_counter & 1]; }
