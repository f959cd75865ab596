// A position-independent program, a library it is linked with and one it opens: calls both ways, data relocations,
// thread-local storage, constructors, what the kernel told of itself, and what is mapped.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

extern int shared_counter;
extern __thread int local;
int twice(int (*function)(int), int value);
const char *who(void);

static int add_three(int value) { return value + 3; }

static int compare(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

static int count(struct dl_phdr_info *info, size_t size, void *data)
{
    const char *name = strrchr(info->dlpi_name, '/');
    if (!strstr(info->dlpi_name, "vdso"))
        printf("object %s\n", name ? name + 1 : "(program)");
    return 0;
}

int main(int argc, char **argv)
{
    int numbers[] = {9, 1, 8, 2, 7};
    qsort(numbers, 5, sizeof *numbers, compare);
    printf("%d %d %d\n", numbers[0], numbers[2], numbers[4]);
    printf("%d %d %d %s\n", twice(add_three, 10), shared_counter, local++, who());
    void *opened = dlopen("libopened.so", RTLD_NOW | RTLD_LOCAL);
    if (!opened)
        return puts(dlerror()), 1;
    long (*sum)(int) = (long (*)(int))dlsym(opened, "sum");
    printf("%ld %d\n", sum(200000), local);
    printf("%s\n", dlsym(opened, "nothing") ? "found" : "not found");
    dl_iterate_phdr(count, NULL);
    printf("close %d\n", dlclose(opened));

    const ElfW(Phdr) *header = (const ElfW(Phdr) *)getauxval(AT_PHDR);
    int interpreters = 0;
    for (unsigned long i = 0; i < getauxval(AT_PHNUM); i++)
        interpreters += header[i].p_type == PT_INTERP;
    const char *base = (const char *)getauxval(AT_BASE);
    printf("%d %d\n", interpreters, base && *base == 0x7f);
    printf("%d\n", (int)(strlen((const char *)getauxval(AT_EXECFN)) > 0));

    FILE *maps = fopen("/proc/self/maps", "r");
    char line[4096];
    int code = 0, found = 0;
    while (fgets(line, sizeof line, maps)) {
        unsigned long start, end;
        char permissions[5];
        if (sscanf(line, "%lx-%lx %4s", &start, &end, permissions) == 3 && permissions[2] == 'x')
            code += (unsigned long)main >= start && (unsigned long)main < end;
        found |= strstr(line, "libneeded.so") != NULL;
    }
    printf("%d %d\n", code, found);
    return argc - 1;
}
