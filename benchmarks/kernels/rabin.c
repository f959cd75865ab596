// The Miller-Rabin test of 32-bit numbers: 64-bit multiplications and remainders. Prints how many are prime.
// args: 3
#include "kernel.h"

enum { NUMBERS = 2000 }; // odd ones, in a round

static uint64_t power(uint64_t base, uint64_t exponent, uint64_t modulus) {
    uint64_t result = 1;
    for (; exponent; exponent >>= 1) {
        if (exponent & 1)
            result = result * base % modulus;
        base = base * base % modulus;
    }
    return result;
}

static int is_witness(uint64_t base, uint64_t number, uint64_t odd, int twos) {
    uint64_t x = power(base, odd, number);
    if (x == 1 || x == number - 1)
        return 0;
    for (int i = 1; i < twos; i++) {
        x = x * x % number;
        if (x == number - 1)
            return 0;
    }
    return 1;
}

static int is_prime(uint64_t number) {
    uint64_t odd = number - 1;
    int twos = 0;
    for (; odd % 2 == 0; odd /= 2)
        twos++;
    // These three are enough below 4,759,123,141.
    return !is_witness(2, number, odd, twos) && !is_witness(7, number, odd, twos) && !is_witness(61, number, odd, twos);
}

static void kernel(long rounds) {
    uint64_t number = 0x80000001, checksum = 0;
    unsigned long count = 0;
    for (long i = 0; i < rounds * NUMBERS; i++, number += 2)
        if (is_prime(number)) {
            count++;
            checksum = checksum * 31 + number;
        }
    print_number(count);
    print(" primes, checksum ");
    print_hex(checksum);
}
