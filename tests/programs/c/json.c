// A small JSON reader and writer: parses into a tree, prints it back in normal form, reports errors with positions.
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct value {
    enum { NUL, FALSE, TRUE, NUMBER, STRING, ARRAY, OBJECT } kind;
    double number;
    char text[40], key[40];
    struct value *child, *next;
};

static const char *start, *at;
static int failed;

static void skip(void) {
    while (isspace((unsigned char)*at))
        at++;
}

static void string_into(char *out) {
    int n = 0;
    for (at++; *at && *at != '"' && n < 39; at++)
        out[n++] = *at == '\\' ? (*++at == 'n' ? '\n' : *at == 't' ? '\t' : *at) : *at;
    out[n] = 0;
    if (*at == '"')
        at++;
    else
        failed = 1;
}

static struct value *parse(void);

static void members(struct value *parent, char close) {
    struct value **link = &parent->child;
    for (at++, skip(); *at != close && !failed; skip()) {
        char key[40] = "";
        if (close == '}') {
            string_into(key);
            skip();
            failed |= *at != ':';
            at += !failed;
        }
        if (failed || !(*link = parse()))
            return;
        strcpy((*link)->key, key);
        link = &(*link)->next;
        skip();
        if (*at == ',')
            at++;
        else if (*at != close)
            failed = 1;
    }
    at += !failed;
}

static struct value *parse(void) {
    static const struct { const char *word; int kind; } words[] = {{"null", NUL}, {"false", FALSE}, {"true", TRUE}};
    struct value *value = calloc(1, sizeof *value);
    skip();
    for (int i = 0; i < 3; i++)
        if (strncmp(at, words[i].word, strlen(words[i].word)) == 0) {
            value->kind = words[i].kind;
            at += strlen(words[i].word);
            return value;
        }
    if (*at == '"') {
        value->kind = STRING;
        string_into(value->text);
    } else if (*at == '[' || *at == '{') {
        value->kind = *at == '[' ? ARRAY : OBJECT;
        members(value, *at == '[' ? ']' : '}');
    } else if (*at == '-' || isdigit((unsigned char)*at)) {
        char *end;
        value->kind = NUMBER;
        value->number = strtod(at, &end);
        at = end;
    } else
        failed = 1;
    return value;
}

static void print(const struct value *value) {
    static const char *const names[] = {"null", "false", "true"};
    if (value->kind <= TRUE)
        printf("%s", names[value->kind]);
    else if (value->kind == NUMBER)
        printf("%.15g", value->number);
    else if (value->kind == STRING)
        printf("\"%s\"", value->text);
    else {
        putchar(value->kind == ARRAY ? '[' : '{');
        for (const struct value *child = value->child; child; child = child->next) {
            if (value->kind == OBJECT)
                printf("\"%s\":", child->key);
            print(child);
            if (child->next)
                putchar(',');
        }
        putchar(value->kind == ARRAY ? ']' : '}');
    }
}

static void release(struct value *value) {
    if (!value)
        return;
    release(value->child);
    release(value->next);
    free(value);
}

int main(void) {
    static const char *const documents[] = {
        "{\"name\": \"vm\", \"tiers\": [0, 1, 2.5, -3e2], \"nested\": {\"deep\": [[[]], {}], \"ok\": true}, \"none\": null}",
        "[1, 2, 3", "  [true , false,\n null ] ", "{\"a\" 1}", "\"tab\\tquote\\\"\"", "[1 2]", "", "1e308", "-0.1"};
    int errors = 0;
    for (unsigned i = 0; i < sizeof documents / sizeof documents[0]; i++) {
        start = at = documents[i];
        failed = 0;
        struct value *tree = parse();
        if (failed) {
            printf("error at %ld\n", (long)(at - start));
            errors++;
        } else {
            print(tree);
            printf("\n");
        }
        release(tree);
    }
    return errors;
}
