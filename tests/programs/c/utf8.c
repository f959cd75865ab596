// UTF-8 by hand and through the wide-character functions.
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <wchar.h>
#include <wctype.h>

static int decode(const unsigned char *s, uint32_t *point) {
    int extra = *s < 0x80 ? 0 : *s >= 0xf0 ? 3 : *s >= 0xe0 ? 2 : *s >= 0xc2 ? 1 : -1;
    if (extra < 0)
        return -1;
    *point = extra ? *s & (0x3fu >> extra) : *s;
    for (int i = 1; i <= extra; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return -1;
        *point = *point << 6 | (s[i] & 0x3f);
    }
    return extra + 1;
}

static int encode(uint32_t point, char *out) {
    int extra = point < 0x80 ? 0 : point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
    static const uint8_t lead[] = {0, 0xc0, 0xe0, 0xf0};
    for (int i = extra; i > 0; i--, point >>= 6)
        out[i] = (char)(0x80 | (point & 0x3f));
    out[0] = (char)(lead[extra] | point);
    return extra + 1;
}

int main(void) {
    static const char *const texts[] = {"plain", "na\xc3\xafve", "\xce\xb1\xce\xb2\xce\xb3", "\xe6\x97\xa5\xe6\x9c\xac", "\xf0\x9f\x90\x8d!",
                                        "bad\xff", "cut\xe6\x97"};
    for (int i = 0; i < 7; i++) {
        int points = 0, length = 0;
        uint32_t point, sum = 0;
        const unsigned char *at = (const unsigned char *)texts[i];
        while (*at && (length = decode(at, &point)) > 0) {
            sum = sum * 33 + point;
            points++;
            at += length;
        }
        printf("%zu bytes %d points %08x %s\n", strlen(texts[i]), points, sum, length < 0 ? "invalid" : "valid");
    }
    int wrong = 0;
    for (uint32_t point = 1; point < 0x110000; point += point < 0x900 ? 1 : 997) {
        char buffer[5] = {0};
        uint32_t back = 0;
        int length = encode(point, buffer);
        wrong += decode((unsigned char *)buffer, &back) != length || back != point;
    }
    printf("wrong %d\n", wrong);
    wchar_t wide[32];
    swprintf(wide, 32, L"%ls-%d", L"wide", 42);
    wcscat(wide, L"Text");
    for (wchar_t *c = wide; *c; c++)
        *c = (wchar_t)towupper((wint_t)*c);
    printf("%ls %zu %d\n", wide, wcslen(wide), wcscmp(wide, L"WIDE-42TEXT"));
    printf("%ld %g\n", wcstol(L" -77x", NULL, 10), wcstod(L"2.5e2", NULL));
    return 0;
}
