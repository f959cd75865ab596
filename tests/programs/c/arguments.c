// The process's own data: argv, environment, getopt, atexit handlers, exit code from main.
// args: -a -n 42 --file=out.txt -x plain "" "two words" -b last
// env: VMJIT_GREETING=hello there
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern char **environ;

static void first(void) { printf("first handler\n"); }
static void second(void) { printf("second handler\n"); }

__attribute__((constructor)) static void early(void) { setvbuf(stdout, NULL, _IOLBF, 0); }

int main(int argc, char **argv) {
    static const struct option options[] = {{"file", required_argument, NULL, 'f'}, {"all", no_argument, NULL, 'a'}, {0}};
    atexit(first);
    atexit(second);
    printf("argc %d\n", argc);
    for (int i = 1; i < argc; i++)
        printf("argv %d '%s'\n", i, argv[i]);
    printf("end %d\n", argv[argc] == NULL);
    opterr = 0;
    for (int option; (option = getopt_long(argc, argv, "abn:f:", options, NULL)) != -1;)
        printf("option %c %s\n", option, optarg ? optarg : "-");
    for (int i = optind; i < argc; i++)
        printf("rest '%s'\n", argv[i]);
    const char *greeting = getenv("VMJIT_GREETING");
    printf("environment %s, %s\n", greeting ? greeting : "nothing", getenv("VMJIT_NOTHING") ? "set" : "unset");
    setenv("VMJIT_OWN", "value", 1);
    int found = 0;
    for (char **entry = environ; *entry; entry++)
        found += strcmp(*entry, "VMJIT_OWN=value") == 0;
    printf("own %d\n", found);
    return argc * 10 + 3;
}
