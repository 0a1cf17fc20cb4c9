/* SPDX-License-Identifier: Apache-2.0 */
/* What the driver returns and the machine reports, as sentences. */
#include "kiwicha.h"

typedef struct {
    uint32_t code;
    uint32_t detail;
    const char *name;
    const char *meaning;
} explanation;

typedef struct {
    char *text;
    size_t size;
    size_t length; /* of what there is to say, also beyond `size` */
} sentence;

#define ERROR_ENTRY(code, detail, name, meaning) {(code), (detail), (name), (meaning)},
#define UNIT_ENTRY(number, name) (name),

static const explanation errors[] = {KIWICHA_ERRORS(ERROR_ENTRY)};
static const char *const units[] = {KIWICHA_UNITS(UNIT_ENTRY)};

#define ERROR_COUNT (sizeof(errors) / sizeof(errors[0]))
#define UNIT_COUNT (sizeof(units) / sizeof(units[0]))

static const explanation *explained(uint32_t code)
{
    const explanation *found = NULL;
    size_t index;

    for (index = 0u; index < ERROR_COUNT; index++) {
        if (errors[index].code == code) {
            found = &errors[index];
        }
    }
    return found;
}

const char *kiwicha_error_name(uint32_t code)
{
    const explanation *error = explained(code);

    return (error == NULL) ? "unknown" : error->name;
}

static void say_character(sentence *told, char character)
{
    if ((told->length + 1u) < told->size) {
        told->text[told->length] = character;
        told->length++;
    }
}

static void say(sentence *told, const char *text)
{
    size_t place;

    for (place = 0u; text[place] != '\0'; place++) {
        say_character(told, text[place]);
    }
}

/* At least `digits` digits. */
static void say_number(sentence *told, uint64_t value, uint32_t radix, uint32_t digits)
{
    static const char symbols[] = "0123456789abcdef";
    char reversed[20]; /* 2^64 in decimal */
    uint32_t count = 0u;
    uint64_t rest = value;

    while ((rest != 0u) || (count < digits)) {
        reversed[count] = symbols[rest % radix];
        rest /= radix;
        count++;
    }
    while (count > 0u) {
        count--;
        say_character(told, reversed[count]);
    }
}

static void say_hex(sentence *told, uint64_t value, uint32_t digits)
{
    say(told, "0x");
    say_number(told, value, 16u, digits);
}

static void say_decimal(sentence *told, uint64_t value)
{
    say_number(told, value, 10u, 1u);
}

static void say_stopped(sentence *told, const kiwicha_device *device)
{
    const explanation *error = explained(device->error_code);
    const uint64_t where = device->error_address;

    say(told, "the machine stopped: ");
    if (error == NULL) {
        say(told, "unknown error ");
        say_decimal(told, device->error_code);
        say(told, " at ");
        say_hex(told, where, 1u);
    } else {
        say(told, error->name);
        if (error->detail == KIWICHA_DETAIL_UNIT) {
            say(told, " of ");
            say(told, (where < UNIT_COUNT) ? units[where] : "an unknown unit");
        } else if (error->detail == KIWICHA_DETAIL_STREAM) {
            say(told, " at byte ");
            say_decimal(told, where);
            say(told, " of the stream");
        } else if (error->detail == KIWICHA_DETAIL_MEMORY) {
            say(told, " at ");
            say_hex(told, where, 1u);
        } else {
            /* the address says nothing */
        }
        say(told, ": ");
        say(told, error->meaning);
    }
}

static void say_timeout(sentence *told, const kiwicha_device *device)
{
    say(told, "the machine has neither ended nor stopped after ");
    say_decimal(told, device->wanted);
    say(told, " looks");
    if ((device->found & KIWICHA_STATUS_DRAINING_MASK) != 0u) {
        say(told, ": it waits for a bus that does not answer, reset both");
    }
}

size_t kiwicha_error_text(
    const kiwicha_device *device, kiwicha_status status, char *text, size_t size)
{
    sentence told = {NULL, 0u, 0u};

    told.text = text;
    told.size = size;
    switch (status) {
    case KIWICHA_OK:
        say(&told, "no error");
        break;
    case KIWICHA_NO_MACHINE:
        say(&told, "no machine: the identity register reads ");
        say_hex(&told, device->found, 8u);
        say(&told, ", not ");
        say_hex(&told, device->wanted, 8u);
        break;
    case KIWICHA_WRONG_VERSION:
        say(&told, "the machine has version ");
        say_decimal(&told, device->found);
        say(&told, " of the interface, driver or program version ");
        say_decimal(&told, device->wanted);
        break;
    case KIWICHA_WRONG_MACHINE:
        say(&told, "the machine has fingerprint ");
        say_hex(&told, device->found, 8u);
        say(&told, ", the program is for ");
        say_hex(&told, device->wanted, 8u);
        break;
    case KIWICHA_MISALIGNED:
        say(&told, "base ");
        say_hex(&told, device->found, 1u);
        say(&told, " is no multiple of ");
        say_decimal(&told, device->wanted);
        say(&told, ", the bytes of a beat");
        break;
    case KIWICHA_MEMORY_SHORT:
        say(&told, "the program needs ");
        say_decimal(&told, device->wanted);
        say(&told, " bytes of memory, there are ");
        say_decimal(&told, device->found);
        say(&told, ": ");
        say_decimal(&told, device->wanted - device->found);
        say(&told, " short");
        break;
    case KIWICHA_OUT_OF_REACH:
        say(&told, "memory from ");
        say_hex(&told, device->found, 1u);
        say(&told, " on ends beyond ");
        say_hex(&told, device->wanted, 1u);
        say(&told, ", the last address that can be granted");
        break;
    case KIWICHA_BROKEN_PROGRAM:
        say(&told, "the program is broken: its parts do not fit its memory");
        break;
    case KIWICHA_NOT_LOADED:
        say(&told, "no program is loaded");
        break;
    case KIWICHA_BUSY:
        say(&told, "a program runs, or is being stopped");
        break;
    case KIWICHA_TIMEOUT:
        say_timeout(&told, device);
        break;
    case KIWICHA_STOPPED:
        say_stopped(&told, device);
        break;
    default:
        say(&told, "no status of this driver");
        break;
    }
    if (size > 0u) {
        text[told.length] = '\0';
    }
    return told.length;
}
