// Structures by value (small, mixed, large), unions, bit-fields, packed layouts, arrays of structures.
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct tiny { uint8_t a, b; };
struct mixed { float f; int i; };
struct floats { double x, y; };
struct big { long v[6]; };
struct bits { unsigned a : 3, b : 7, c : 1; signed d : 5; uint64_t e : 40, f : 20; };
struct __attribute__((packed)) packed { uint8_t tag; uint32_t word; uint16_t half; uint64_t quad; };
union view { double d; uint64_t u; uint8_t bytes[8]; };

static __attribute__((noinline)) struct tiny swap(struct tiny t) { return (struct tiny){t.b, t.a}; }
static __attribute__((noinline)) struct mixed scale(struct mixed m, float k) { return (struct mixed){m.f * k, m.i * (int)k}; }
static __attribute__((noinline)) struct floats turn(struct floats p) { return (struct floats){-p.y, p.x}; }
static __attribute__((noinline)) struct big shift(struct big b, int by) {
    struct big result;
    for (int i = 0; i < 6; i++)
        result.v[(i + by) % 6] = b.v[i] + i;
    return result;
}

static void bit_fields(void) {
    struct bits bits;
    memset(&bits, 0, sizeof bits);
    for (unsigned i = 0; i < 40; i++) {
        bits.a += 1;
        bits.b -= 3;
        bits.c ^= 1;
        bits.d += 7;
        bits.e = bits.e * 31 + i;
        bits.f ^= bits.e >> 3;
    }
    printf("bits %u %u %u %d %llu %llu size %zu\n", bits.a, bits.b, bits.c, bits.d, (unsigned long long)bits.e,
           (unsigned long long)bits.f, sizeof bits);
}

static void packed_fields(void) {
    struct packed items[3];
    memset(items, 0, sizeof items);
    for (int i = 0; i < 3; i++) {
        items[i].tag = (uint8_t)(i + 1);
        items[i].word = 0x01020304u * (unsigned)(i + 1);
        items[i].half = (uint16_t)(0xfffe + i);
        items[i].quad = 0x1122334455667788u + (unsigned)i;
    }
    printf("packed %zu:", sizeof items[0]);
    for (size_t i = 0; i < sizeof items; i++)
        printf("%02x", ((uint8_t *)items)[i]);
    printf("\n");
}

int main(void) {
    struct tiny t = swap((struct tiny){3, 250});
    struct mixed m = scale((struct mixed){1.5f, -7}, 3);
    struct floats p = {1, 2};
    for (int i = 0; i < 5; i++)
        p = turn(p);
    struct big b = {{1, 2, 3, 4, 5, 6}};
    for (int i = 0; i < 50; i++)
        b = shift(b, i);
    printf("%d %d %g %d %g %g\n", t.a, t.b, m.f, m.i, p.x, p.y);
    for (int i = 0; i < 6; i++)
        printf("%ld ", b.v[i]);
    printf("\n");
    bit_fields();
    packed_fields();
    union view view = {.d = -0.1};
    printf("%016llx %02x %02x\n", (unsigned long long)view.u, view.bytes[0], view.bytes[7]);
    return t.a;
}
