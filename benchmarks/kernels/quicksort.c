// Hoare's quicksort of pointers to records; orders are functions, called through a pointer. Prints a checksum.
// args: 3
#include "kernel.h"

enum { COUNT = 8192, FEW = 8 }; // records; so few are sorted by insertion

struct record {
    uint64_t key;
    uint32_t group, number;
};

typedef int order(const struct record *, const struct record *);

static struct record records[COUNT], *sorted[COUNT];

static int by_key(const struct record *a, const struct record *b) { return (a->key > b->key) - (a->key < b->key); }

static int by_key_down(const struct record *a, const struct record *b) { return by_key(b, a); }

static int by_group(const struct record *a, const struct record *b) {
    return a->group != b->group ? (a->group > b->group) - (a->group < b->group) : by_key(a, b);
}

static int by_number(const struct record *a, const struct record *b) { return (int)a->number - (int)b->number; }

static order *const orders[4] = {by_key, by_group, by_key_down, by_number};

static void insert(struct record **at, long count, order *compare) {
    for (long i = 1; i < count; i++) {
        struct record *moved = at[i];
        long k = i;
        for (; k > 0 && compare(at[k - 1], moved) > 0; k--)
            at[k] = at[k - 1];
        at[k] = moved;
    }
}

// noipa keeps GCC from seeing which orders there are.
static __attribute__((noipa)) void sort(struct record **at, long count, order *compare) {
    while (count > FEW) {
        const struct record *pivot = at[count / 2];
        long low = 0, high = count - 1;
        while (low <= high) {
            while (compare(at[low], pivot) < 0)
                low++;
            while (compare(pivot, at[high]) < 0)
                high--;
            if (low <= high) {
                struct record *swapped = at[low];
                at[low++] = at[high];
                at[high--] = swapped;
            }
        }
        sort(at, high + 1, compare);
        at += low;
        count -= low;
    }
    insert(at, count, compare);
}

static void kernel(long rounds) {
    uint64_t random = 1, checksum = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        sorted[i] = &records[i];
        records[i].number = i;
    }
    for (long round = 0; round < rounds; round++) {
        for (int i = 0; i < COUNT; i++) {
            records[i].key = next_random(&random);
            records[i].group = (uint32_t)(records[i].key >> 32) % 64;
        }
        sort(sorted, COUNT, orders[round & 3]);
        for (int i = 0; i < COUNT; i += 64)
            checksum = checksum * 31 + sorted[i]->number;
    }
    print("checksum ");
    print_hex(checksum);
}
