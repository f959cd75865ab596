// Memory mapping: anonymous and file mappings, protections, fixed addresses, partial unmapping, mremap.
// args: {tmp}
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096 };

static void anonymous(void) {
    uint8_t *area = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int zeros = 1;
    for (int i = 0; i < 8 * PAGE; i += 512)
        zeros &= area[i] == 0;
    memset(area, 0xa5, 8 * PAGE);
    printf("zeros %d aligned %d\n", zeros, ((uintptr_t)area & (PAGE - 1)) == 0);
    printf("protect %d %d\n", mprotect(area + PAGE, PAGE, PROT_READ), mprotect(area + PAGE, PAGE, PROT_READ | PROT_WRITE));
    printf("unmap middle %d\n", munmap(area + 2 * PAGE, 2 * PAGE));
    uint8_t *fixed = mmap(area + 2 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    printf("fixed %d fresh %d kept %x %x\n", fixed == area + 2 * PAGE, fixed[0], area[2 * PAGE - 1], area[4 * PAGE]);
    uint8_t *moved = mremap(area + 4 * PAGE, 4 * PAGE, 16 * PAGE, MREMAP_MAYMOVE);
    printf("remap %x %x\n", moved[0], moved[4 * PAGE]);
    munmap(moved, 16 * PAGE);
    printf("unaligned %d %d\n", munmap(area + 1, PAGE), errno == EINVAL);
    munmap(area, 3 * PAGE);
}

static void file_mapping(void) {
    int fd = open("mapped.bin", O_RDWR | O_CREAT | O_TRUNC, 0600);
    char line[64];
    for (int i = 0; i < 200; i++) {
        int length = snprintf(line, sizeof line, "record %03d padded to thirty-two\n", i);
        if (write(fd, line, length) != length)
            return;
    }
    char *private = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    char *shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    private[0] = 'P';
    printf("private %.10s shared %.10s\n", private, shared);
    memcpy(shared, "SHARED", 6);
    printf("sync %d\n", msync(shared, PAGE, MS_SYNC));
    char *second = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, PAGE);
    printf("offset %.16s tail zero %d\n", second, second[PAGE - 1] == 0);
    munmap(shared, PAGE);
    if (pread(fd, line, 16, 0) == 16)
        printf("file %.16s\n", line);
    munmap(private, 2 * PAGE);
    munmap(second, PAGE);
    close(fd);
    unlink("mapped.bin");
}

int main(int argc, char **argv) {
    if (argc < 2 || chdir(argv[1]) != 0)
        return 2;
    anonymous();
    file_mapping();
    void *bad = mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    printf("empty %d %d\n", bad == MAP_FAILED, errno == EINVAL);
    bad = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, 99, 0);
    printf("bad fd %d %d\n", bad == MAP_FAILED, errno == EBADF);
    return 0;
}
