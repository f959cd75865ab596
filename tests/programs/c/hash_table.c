// An open-addressing hash table: insert, look up, delete, grow; word counting.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    char *key;
    long value;
};

struct table {
    struct entry *entries;
    size_t capacity, used, live;
};

static char deleted[] = "";

static uint64_t hash(const char *key) {
    uint64_t h = 1469598103934665603u;
    while (*key)
        h = (h ^ (unsigned char)*key++) * 1099511628211u;
    return h ^ h >> 32;
}

static struct entry *find(struct table *table, const char *key) {
    struct entry *reuse = NULL;
    for (size_t i = hash(key);; i++) {
        struct entry *entry = &table->entries[i & (table->capacity - 1)];
        if (!entry->key)
            return reuse ? reuse : entry;
        if (entry->key == deleted)
            reuse = reuse ? reuse : entry;
        else if (strcmp(entry->key, key) == 0)
            return entry;
    }
}

static int present(const struct entry *entry) { return entry->key && entry->key != deleted; }

static void grow(struct table *table) {
    struct table larger = {calloc(table->capacity * 2, sizeof(struct entry)), table->capacity * 2, 0, 0};
    for (size_t i = 0; i < table->capacity; i++)
        if (present(&table->entries[i])) {
            *find(&larger, table->entries[i].key) = table->entries[i];
            larger.used++;
        }
    larger.live = larger.used;
    free(table->entries);
    *table = larger;
}

static long *at(struct table *table, const char *key) {
    if (table->used * 4 >= table->capacity * 3)
        grow(table);
    struct entry *entry = find(table, key);
    if (!present(entry)) {
        table->used += !entry->key;
        table->live++;
        entry->key = strdup(key);
        entry->value = 0;
    }
    return &entry->value;
}

static int drop(struct table *table, const char *key) {
    struct entry *entry = find(table, key);
    if (!present(entry))
        return 0;
    free(entry->key);
    entry->key = deleted;
    table->live--;
    return 1;
}

int main(void) {
    struct table table = {calloc(8, sizeof(struct entry)), 8, 0, 0};
    uint32_t state = 5;
    int dropped = 0;
    for (int i = 0; i < 900; i++) {
        char key[16];
        state = state * 1664525u + 1013904223u;
        snprintf(key, sizeof key, "k%u", (state >> 20) % 300);
        if (i % 5 == 4)
            dropped += drop(&table, key);
        else
            *at(&table, key) += i;
    }
    long sum = 0;
    for (size_t i = 0; i < table.capacity; i++)
        if (present(&table.entries[i])) {
            sum += table.entries[i].value * (long)strlen(table.entries[i].key);
            free(table.entries[i].key);
        }
    printf("capacity %zu live %zu dropped %d sum %ld\n", table.capacity, table.live, dropped, sum);
    free(table.entries);
    return 0;
}
