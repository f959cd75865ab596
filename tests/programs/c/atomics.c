// C11 atomics: every operation at 8, 16, 32 and 64 bits, compare-exchange weak and strong, flags, fences.
// link: -latomic
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>

#define EXERCISE(type)                                                                                                       \
    static uint64_t exercise_##type(void) {                                                                                  \
        static _Atomic type cell = (type)0x123456789abcdef0;                                                                 \
        uint64_t sum = 0;                                                                                                    \
        for (int i = 1; i < 60; i++) {                                                                                       \
            type operand = (type)(i * 0x0101010101010101u);                                                                  \
            sum = sum * 31 + (uint64_t)atomic_fetch_add(&cell, operand);                                                     \
            sum = sum * 31 + (uint64_t)atomic_fetch_sub_explicit(&cell, (type)(operand >> 1), memory_order_relaxed);         \
            sum = sum * 31 + (uint64_t)atomic_fetch_xor_explicit(&cell, operand, memory_order_acquire);                      \
            sum = sum * 31 + (uint64_t)atomic_fetch_or_explicit(&cell, (type)(operand << 2), memory_order_release);          \
            sum = sum * 31 + (uint64_t)atomic_fetch_and_explicit(&cell, (type)~(operand >> 3), memory_order_acq_rel);        \
            sum = sum * 31 + (uint64_t)atomic_exchange(&cell, (type)(cell * 3));                                             \
            type expected = (type)(i & 1 ? cell : cell + 1);                                                                 \
            sum = sum * 31 + (uint64_t)atomic_compare_exchange_strong(&cell, &expected, (type)(operand + 5));                \
            sum = sum * 31 + (uint64_t)expected;                                                                             \
            while (!atomic_compare_exchange_weak(&cell, &expected, (type)(expected + 1)))                                    \
                sum++;                                                                                                       \
            atomic_store_explicit(&cell, (type)(atomic_load(&cell) ^ operand), memory_order_release);                        \
        }                                                                                                                    \
        return sum ^ (uint64_t)cell;                                                                                         \
    }

EXERCISE(int32_t)
EXERCISE(uint32_t)
EXERCISE(int64_t)
EXERCISE(uint64_t)
EXERCISE(uint8_t)
EXERCISE(int16_t)

int main(void) {
    printf("i32 %016llx\n", (unsigned long long)exercise_int32_t());
    printf("u32 %016llx\n", (unsigned long long)exercise_uint32_t());
    printf("i64 %016llx\n", (unsigned long long)exercise_int64_t());
    printf("u64 %016llx\n", (unsigned long long)exercise_uint64_t());
    printf("u8 %016llx\n", (unsigned long long)exercise_uint8_t());
    printf("i16 %016llx\n", (unsigned long long)exercise_int16_t());
    static atomic_flag flag = ATOMIC_FLAG_INIT;
    int before = atomic_flag_test_and_set(&flag), after = atomic_flag_test_and_set(&flag);
    atomic_flag_clear(&flag);
    atomic_thread_fence(memory_order_seq_cst);
    atomic_signal_fence(memory_order_acquire);
    printf("flag %d %d %d\n", before, after, atomic_flag_test_and_set(&flag));
    _Atomic(char *) pointer = (char *)0x1000;
    atomic_fetch_add(&pointer, 24);
    printf("pointer %p\n", (void *)pointer);
    return 0;
}
