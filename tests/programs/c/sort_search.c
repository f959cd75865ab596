// qsort and bsearch on integers, strings and structures; own heap sort for comparison.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct record {
    int key;
    char name[12];
    double weight;
};

static int by_int(const void *a, const void *b) { return (*(const int *)a > *(const int *)b) - (*(const int *)a < *(const int *)b); }

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static int by_weight(const void *a, const void *b) {
    const struct record *left = a, *right = b;
    if (left->weight != right->weight)
        return left->weight < right->weight ? -1 : 1;
    return left->key - right->key;
}

static void sift(int *heap, int root, int count) {
    for (int child; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count && heap[child] < heap[child + 1])
            child++;
        if (heap[root] >= heap[child])
            return;
        int keep = heap[root];
        heap[root] = heap[child];
        heap[child] = keep;
    }
}

static void heap_sort(int *items, int count) {
    for (int i = count / 2; i-- > 0;)
        sift(items, i, count);
    for (int end = count - 1; end > 0; end--) {
        int keep = items[0];
        items[0] = items[end];
        items[end] = keep;
        sift(items, 0, end);
    }
}

int main(void) {
    enum { COUNT = 800 };
    static int numbers[COUNT], copy[COUNT];
    unsigned state = 42;
    for (int i = 0; i < COUNT; i++) {
        state = state * 1103515245u + 12345u;
        copy[i] = numbers[i] = (int)(state >> 8) % 5000 - 2500;
    }
    qsort(numbers, COUNT, sizeof numbers[0], by_int);
    heap_sort(copy, COUNT);
    int found = 0;
    for (int key = -100; key < 100; key++)
        found += bsearch(&key, numbers, COUNT, sizeof numbers[0], by_int) != NULL;
    printf("same %d first %d last %d found %d\n", memcmp(numbers, copy, sizeof copy) == 0, numbers[0], numbers[COUNT - 1], found);
    const char *words[] = {"pear", "apple", "fig", "banana", "cherry", "date", "elder", "grape"};
    qsort(words, 8, sizeof words[0], by_text);
    for (int i = 0; i < 8; i++)
        printf("%s ", words[i]);
    printf("\n");
    struct record records[60];
    for (int i = 0; i < 60; i++) {
        records[i].key = i;
        snprintf(records[i].name, sizeof records[i].name, "r%02d", i * 37 % 60);
        records[i].weight = (i * 17 % 23) / 4.0;
    }
    qsort(records, 60, sizeof records[0], by_weight);
    for (int i = 0; i < 60; i += 6)
        printf("%d %s %.2f\n", records[i].key, records[i].name, records[i].weight);
    return 0;
}
