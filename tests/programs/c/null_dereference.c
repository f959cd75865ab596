// Ends by SIGSEGV: a store through a null pointer after some output.
// exit: 139
#include <stdio.h>

int main(void) {
    volatile int *volatile pointer = NULL;
    long sum = 0;
    for (int i = 0; i < 1000; i++)
        sum += i;
    printf("before %ld\n", sum);
    fflush(stdout);
    *pointer = 1;
    printf("after\n");
    return 0;
}
