// A fault in the C library.
#include <string.h>

int main(int argc, char **argv) { return (int)strlen((const char *)(unsigned long)(argc * 16)); }
