// Finds the words of a text that match [+-]?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)? by an automaton in a table: each look-up
// waits for the one before. Prints how many words end in which state.
// args: 3
#include "kernel.h"

enum { SIZE = 1 << 18 };
enum class { DIGIT, SIGN, POINT, EXPONENT, OTHER, SPACE, CLASSES };
enum state { START, SIGNED, WHOLE, POINTED, FRACTION, E, E_SIGNED, POWER, WORD, STATES };

static const uint8_t following[STATES][CLASSES] = {
    // DIGIT     SIGN      POINT    EXPONENT OTHER SPACE
    {WHOLE,    SIGNED,   WORD,    WORD,    WORD, START}, // START
    {WHOLE,    WORD,     WORD,    WORD,    WORD, START}, // SIGNED
    {WHOLE,    WORD,     POINTED, E,       WORD, START}, // WHOLE
    {FRACTION, WORD,     WORD,    WORD,    WORD, START}, // POINTED
    {FRACTION, WORD,     WORD,    E,       WORD, START}, // FRACTION
    {POWER,    E_SIGNED, WORD,    WORD,    WORD, START}, // E
    {POWER,    WORD,     WORD,    WORD,    WORD, START}, // E_SIGNED
    {POWER,    WORD,     WORD,    WORD,    WORD, START}, // POWER
    {WORD,     WORD,     WORD,    WORD,    WORD, START}, // WORD
};

static uint8_t classes[256], text[SIZE];

static void classify(void) {
    for (int byte = 0; byte < 256; byte++)
        classes[byte] = byte >= '0' && byte <= '9' ? DIGIT : OTHER;
    classes['+'] = classes['-'] = SIGN;
    classes['.'] = POINT;
    classes['e'] = EXPONENT;
    classes[' '] = SPACE;
}

static void kernel(long rounds) {
    uint64_t random = 1;
    unsigned long ends[STATES] = {0};
    classify();
    for (long i = 0; i < SIZE; i++)
        text[i] = (uint8_t) "0123456789012345678901234567+-..eex    "[next_random(&random) % 39];
    unsigned state = START;
    for (long round = 0; round < rounds; round++) {
        text[next_random(&random) % SIZE] = ' ';
        for (long i = 0; i < SIZE; i++) {
            unsigned class = classes[text[i]];
            if (class == SPACE)
                ends[state]++;
            state = following[state][class];
        }
    }
    for (int i = 0; i < STATES; i++) {
        print_number(ends[i]);
        print(i < STATES - 1 ? " " : "");
    }
}
