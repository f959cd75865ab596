// File work in the directory given as the first argument: read, write, seek, stat, rename, list, remove.
// args: {tmp}
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int by_text(const void *a, const void *b) { return strcmp(a, b); }

static void list(const char *path) {
    char names[16][64];
    int count = 0;
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory && (entry = readdir(directory));)
        if (entry->d_name[0] != '.' && count < 16)
            snprintf(names[count++], 64, "%.60s%s", entry->d_name, entry->d_type == DT_DIR ? "/" : "");
    if (directory)
        closedir(directory);
    qsort(names, count, 64, by_text);
    printf("list:");
    for (int i = 0; i < count; i++)
        printf(" %s", names[i]);
    printf("\n");
}

static void streams(void) {
    FILE *file = fopen("lines.txt", "w+");
    for (int i = 0; i < 300; i++)
        fprintf(file, "line %d\n", i);
    printf("written %ld\n", ftell(file));
    fseek(file, -9, SEEK_END);
    char line[32];
    while (fgets(line, sizeof line, file))
        printf("tail %s", line);
    rewind(file);
    int newlines = 0;
    for (int c; (c = fgetc(file)) != EOF;)
        newlines += c == '\n';
    fclose(file);
    printf("newlines %d\n", newlines);
}

static void descriptors(void) {
    int fd = open("raw.bin", O_RDWR | O_CREAT | O_TRUNC, 0640);
    char block[16] = "0123456789abcde";
    printf("write %zd pwrite %zd", write(fd, block, 16), pwrite(fd, "XY", 2, 4));
    printf(" lseek %ld", (long)lseek(fd, 2, SEEK_SET));
    ssize_t got = read(fd, block, 8);
    printf(" read %zd %.8s", got, block);
    printf(" truncate %d\n", ftruncate(fd, 100));
    struct stat info;
    fstat(fd, &info);
    printf("size %ld mode %o regular %d\n", (long)info.st_size, info.st_mode & 0777, S_ISREG(info.st_mode));
    int copy = dup(fd);
    close(fd);
    printf("dup offset %ld closed %zd\n", (long)lseek(copy, 0, SEEK_CUR), read(fd, block, 1));
    close(copy);
}

int main(int argc, char **argv) {
    if (argc < 2 || chdir(argv[1]) != 0)
        return 2;
    umask(022);
    streams();
    descriptors();
    printf("mkdir %d again %d errno %d\n", mkdir("sub", 0755), mkdir("sub", 0755), errno == EEXIST);
    printf("rename %d\n", rename("lines.txt", "sub/moved.txt"));
    printf("link %d symlink %d\n", link("raw.bin", "hard"), symlink("raw.bin", "soft"));
    char target[32] = "";
    ssize_t length = readlink("soft", target, sizeof target - 1);
    struct stat info;
    printf("readlink %zd %s lstat %d stat %d links %d\n", length, target, lstat("soft", &info), stat("hard", &info), (int)info.st_nlink);
    list(".");
    list("sub");
    printf("missing %d %s\n", open("missing", O_RDONLY), strerror(errno));
    printf("rmdir full %d %d\n", rmdir("sub"), errno == ENOTEMPTY || errno == EEXIST);
    printf("clean %d %d %d %d %d\n", unlink("sub/moved.txt"), rmdir("sub"), unlink("hard"), unlink("soft"), unlink("raw.bin"));
    printf("access %d\n", access("raw.bin", F_OK));
    list(".");
    return 0;
}
