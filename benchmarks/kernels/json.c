// A parser of JSON by recursive descent over a text that a generator made: branches on bytes, calls. Prints a checksum
// of all values.
// args: 3
#include "kernel.h"

enum { SIZE = 1 << 17, DEPTH = 5 };

static char text[SIZE];

// The generator.

struct writer {
    char *at;
    uint64_t random;
};

static void put(struct writer *out, const char *from) {
    while (*from)
        *out->at++ = *from++;
}

static void put_digits(struct writer *out, uint64_t number) { // from the last to the first
    do
        *out->at++ = (char)('0' + number % 10);
    while (number /= 10);
}

static void put_string(struct writer *out, uint64_t random) {
    static const char *const words[8] = {"name", "a b", "\\n", "\\u00e9", "tab\\t", "value", "\\\"", "0"};
    put(out, "\"");
    for (int i = 0; i < 4; i++, random >>= 3)
        put(out, words[random & 7]);
    put(out, "\"");
}

static void put_value(struct writer *out, int depth) {
    uint64_t random = next_random(&out->random) >> 8;
    int kind = (int)(random % 8), members = out->at - text < SIZE / 2 ? (int)(random >> 8 & 7) : 0;
    if (depth && kind < 4) { // 0, 1: an array; 2, 3: an object
        put(out, kind < 2 ? "[" : "{");
        for (int i = 0; i < members; i++) {
            put(out, i ? ", " : "");
            if (kind >= 2) {
                put_string(out, random >> (3 * i));
                put(out, ": ");
            }
            put_value(out, depth - 1);
        }
        put(out, kind < 2 ? "]" : "}");
    } else if (kind < 6) {
        put(out, random & 0x100 ? "-1" : "1");
        put_digits(out, random >> 40);
        put(out, ".");
        put_digits(out, random >> 9 & 0xffff);
        put(out, random & 0x200 ? "e-5" : "");
    } else if (kind == 6)
        put_string(out, random >> 8);
    else
        put(out, random & 0x100 ? "true" : random & 0x200 ? "false" : "null");
}

static void write_text(void) {
    struct writer out = {text, 1};
    put(&out, "[");
    do {
        put_value(&out, DEPTH);
        put(&out, ",\n");
    } while (out.at - text < SIZE / 2); // beyond that all arrays and objects that begin are empty
    put(&out, "null]");
}

// The parser. Errors leave a mark in the checksum and go on.

struct parser {
    const char *at;
    uint64_t checksum, errors;
};

static void note(struct parser *in, uint64_t value) { in->checksum = in->checksum * 31 + value; }

static void skip_space(struct parser *in) {
    while (*in->at == ' ' || *in->at == '\n' || *in->at == '\t' || *in->at == '\r')
        in->at++;
}

static int accept(struct parser *in, char wanted) {
    skip_space(in);
    if (*in->at != wanted)
        return 0;
    in->at++;
    return 1;
}

static void expect(struct parser *in, const char *wanted) {
    for (; *wanted; wanted++)
        if (*in->at++ != *wanted)
            in->errors++;
}

static uint64_t digits(struct parser *in) {
    uint64_t number = 0;
    for (; *in->at >= '0' && *in->at <= '9'; in->at++)
        number = number * 10 + (uint64_t)(*in->at - '0');
    return number;
}

static void parse_number(struct parser *in) {
    uint64_t negative = (uint64_t)accept(in, '-');
    note(in, digits(in) * 2 + negative);
    if (accept(in, '.'))
        note(in, digits(in));
    if (*in->at == 'e' || *in->at == 'E') {
        in->at++;
        negative = (uint64_t)accept(in, '-');
        note(in, digits(in) * 2 + negative);
    }
}

static uint64_t hexadecimal(struct parser *in) {
    uint64_t number = 0;
    for (int i = 0; i < 4; i++, in->at++)
        number = number * 16 + (uint64_t)(*in->at <= '9' ? *in->at - '0' : (*in->at | 32) - 'a' + 10);
    return number;
}

static uint64_t escaped(struct parser *in) {
    char kind = *in->at++;
    switch (kind) {
    case 'n': return '\n';
    case 't': return '\t';
    case 'r': return '\r';
    case 'u': return hexadecimal(in);
    default: return (uint64_t)kind;
    }
}

static void parse_string(struct parser *in) {
    uint64_t hash = 5381;
    for (char c; (c = *in->at++) != '"';)
        hash = hash * 33 + (c == '\\' ? escaped(in) : (uint64_t)c);
    note(in, hash);
}

static void parse_value(struct parser *in);

static void parse_members(struct parser *in, char end, int named) {
    uint64_t count = 0;
    if (!accept(in, end)) {
        do {
            if (named) {
                in->errors += !accept(in, '"');
                parse_string(in);
                in->errors += !accept(in, ':');
            }
            parse_value(in);
            count++;
        } while (accept(in, ','));
        in->errors += !accept(in, end);
    }
    note(in, count);
}

static void parse_value(struct parser *in) {
    skip_space(in);
    switch (*in->at) {
    case '{': in->at++, parse_members(in, '}', 1); break;
    case '[': in->at++, parse_members(in, ']', 0); break;
    case '"': in->at++, parse_string(in); break;
    case 't': expect(in, "true"), note(in, 1); break;
    case 'f': expect(in, "false"), note(in, 2); break;
    case 'n': expect(in, "null"), note(in, 3); break;
    default: parse_number(in);
    }
}

static void kernel(long rounds) {
    struct parser in = {0};
    write_text();
    for (long round = 0; round < rounds; round++) {
        in.at = text;
        parse_value(&in);
    }
    print_number(in.errors);
    print(" errors, checksum ");
    print_hex(in.checksum);
}
