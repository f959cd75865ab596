// What a program finds in its vDSO: functions by their versioned names, which do what the system calls do; and a
// signal frame that is unwound by where its handler returns to.
#define _GNU_SOURCE
#include <elf.h>
#include <link.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <unwind.h>

static const char *const names[] = {
    "__vdso_rt_sigreturn", "__vdso_gettimeofday", "__vdso_clock_gettime",  "__vdso_clock_getres",
    "__vdso_getcpu",       "__vdso_flush_icache", "__vdso_riscv_hwprobe",
};

static const char *base;
static const ElfW(Sym) *symbols;
static const char *strings;
static const ElfW(Half) *versions;
static const ElfW(Verdef) *definitions;
static const Elf32_Word *hash;

static const void *at(ElfW(Addr) address) { return base + address; }

static void read_dynamic(void)
{
    const ElfW(Ehdr) *header = (const void *)base;
    const ElfW(Phdr) *segment = at(header->e_phoff);
    for (int i = 0; i < header->e_phnum; i++) {
        if (segment[i].p_type == PT_LOAD)
            printf("segment %d%d%d\n", !!(segment[i].p_flags & PF_R), !!(segment[i].p_flags & PF_W),
                   !!(segment[i].p_flags & PF_X));
        if (segment[i].p_type != PT_DYNAMIC)
            continue;
        ElfW(Addr) name = 0;
        for (const ElfW(Dyn) *entry = at(segment[i].p_vaddr); entry->d_tag != DT_NULL; entry++) {
            switch (entry->d_tag) {
            case DT_SONAME: name = entry->d_un.d_val; break;
            case DT_SYMTAB: symbols = at(entry->d_un.d_ptr); break;
            case DT_STRTAB: strings = at(entry->d_un.d_ptr); break;
            case DT_VERSYM: versions = at(entry->d_un.d_ptr); break;
            case DT_VERDEF: definitions = at(entry->d_un.d_ptr); break;
            case DT_HASH: hash = at(entry->d_un.d_ptr); break;
            }
        }
        printf("name %s\n", strings + name);
    }
}

static const char *version_name(int index)
{
    const ElfW(Verdef) *found = definitions;
    while (found->vd_ndx != index)
        found = (const void *)((const char *)found + found->vd_next);
    return strings + ((const ElfW(Verdaux) *)((const char *)found + found->vd_aux))->vda_name;
}

static const void *function(const char *name)
{
    for (Elf32_Word i = 0; i < hash[1]; i++)
        if (!strcmp(strings + symbols[i].st_name, name) && !strcmp(version_name(versions[i] & 0x7fff), "LINUX_4.15"))
            return at(symbols[i].st_value);
    return NULL;
}

static void mapping(void)
{
    char line[512], flags[8];
    unsigned long start, end;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps))
        if (strstr(line, "[vdso]") && sscanf(line, "%lx-%lx %7s", &start, &end, flags) == 3)
            printf("mapping %d %s\n", start == (unsigned long)base, flags);
    fclose(maps);
}

static int ordered(long a, long b, long c, long d, long e, long f)
{
    return (a < c || (a == c && b <= d)) && (c < e || (c == e && d <= f));
}

static void clocks(void)
{
    long (*gettime)(clockid_t, struct timespec *) = function("__vdso_clock_gettime");
    long (*getres)(clockid_t, struct timespec *) = function("__vdso_clock_getres");
    long (*timeofday)(struct timeval *, void *) = function("__vdso_gettimeofday");
    struct timespec before, now, after;
    struct timeval first, day, last;
    int right = 0;
    for (int i = 0; i < 3000; i++) {
        syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &before);
        right += gettime(CLOCK_MONOTONIC, &now) == 0;
        syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &after);
        right += ordered(before.tv_sec, before.tv_nsec, now.tv_sec, now.tv_nsec, after.tv_sec, after.tv_nsec);
        syscall(SYS_gettimeofday, &first, NULL);
        right += timeofday(&day, NULL) == 0;
        syscall(SYS_gettimeofday, &last, NULL);
        right += ordered(first.tv_sec, first.tv_usec, day.tv_sec, day.tv_usec, last.tv_sec, last.tv_usec);
        right += gettime(12345, &now) == -22;
    }
    printf("clocks %d\n", right);
    syscall(SYS_clock_getres, CLOCK_MONOTONIC, &before);
    printf("resolution %ld %d\n", getres(CLOCK_MONOTONIC, &now), !memcmp(&before, &now, sizeof now));
}

static void processors(void)
{
    long (*getcpu)(unsigned *, unsigned *, void *) = function("__vdso_getcpu");
    long (*flush)(void *, void *, unsigned long) = function("__vdso_flush_icache");
    long (*probe)(void *, size_t, size_t, void *, unsigned) = function("__vdso_riscv_hwprobe");
    struct { long key; unsigned long value; } pair = {3, 0}; // RISCV_HWPROBE_KEY_BASE_BEHAVIOR
    unsigned processor = -1, node = -1, wanted = 0;
    cpu_set_t allowed;
    sched_getaffinity(0, sizeof allowed, &allowed);
    while (!CPU_ISSET(wanted, &allowed))
        wanted++;
    CPU_ZERO(&allowed);
    CPU_SET(wanted, &allowed);
    sched_setaffinity(0, sizeof allowed, &allowed);
    printf("getcpu %ld %d %d\n", getcpu(&processor, &node, NULL), processor == wanted, node < 1u << 16);
    printf("flush_icache %ld\n", flush(&pair, &pair + 1, 0));
    printf("hwprobe %ld %lu\n", probe(&pair, 1, 0, NULL, 0), pair.value);
}

static int seen_raise, seen_signal;

static _Unwind_Reason_Code frame(struct _Unwind_Context *context, void *unused)
{
    (void)unused;
    int before = 0;
    seen_signal += _Unwind_GetIPInfo(context, &before) == (unsigned long)function("__vdso_rt_sigreturn");
    seen_raise |= _Unwind_GetRegionStart(context) == (unsigned long)raise;
    return _URC_NO_REASON;
}

static void handler(int number)
{
    (void)number;
    printf("returns to it %d\n", __builtin_return_address(0) == function("__vdso_rt_sigreturn"));
    _Unwind_Backtrace(frame, NULL);
}

int main(void)
{
    base = (const char *)getauxval(AT_SYSINFO_EHDR);
    if (!base)
        return puts("no vDSO"), 1;
    read_dynamic();
    mapping();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        printf("%s %d\n", names[i], function(names[i]) != NULL);
    clocks();
    processors();
    signal(SIGUSR1, handler);
    raise(SIGUSR1);
    printf("unwound %d %d\n", seen_signal, seen_raise);
    return 0;
}
