/* SPDX-License-Identifier: Apache-2.0 */
/* Driver of Kiwicha machines; kiwicha.h says what the functions do. */
#include "kiwicha.h"

#define EVENTS (KIWICHA_INTERRUPT_STATUS_DONE_MASK | KIWICHA_INTERRUPT_STATUS_ERROR_MASK)
#define WORKING (KIWICHA_STATUS_RUNNING_MASK | KIWICHA_STATUS_DRAINING_MASK)
#define WORD_BYTES 8u
#define WIDEST 63u /* bits of an address that a uint64_t has a limit for */

static uint32_t mmio_read32(void *context, uint32_t offset)
{
    const volatile uint32_t *registers = (const volatile uint32_t *)context;

    return registers[offset / 4u];
}

static void mmio_write32(void *context, uint32_t offset, uint32_t value)
{
    volatile uint32_t *registers = (volatile uint32_t *)context;

    registers[offset / 4u] = value;
}

kiwicha_port kiwicha_mmio(uintptr_t registers)
{
    kiwicha_port port = {NULL, mmio_read32, mmio_write32, NULL, NULL, NULL};

    port.context = (void *)registers;
    return port;
}

static uint32_t get(const kiwicha_device *device, uint32_t offset)
{
    return device->port.read32(device->port.context, offset);
}

static void put(const kiwicha_device *device, uint32_t offset, uint32_t value)
{
    device->port.write32(device->port.context, offset, value);
}

/* A register of two halves, the low one at `offset`. */
static void put_address(const kiwicha_device *device, uint32_t offset, uint64_t value)
{
    put(device, offset, (uint32_t)(value & 0xFFFFFFFFu));
    put(device, offset + 4u, (uint32_t)(value >> 32));
}

static uint32_t field(uint32_t value, uint32_t mask, uint32_t shift)
{
    return (value & mask) >> shift;
}

static kiwicha_status refused(
    kiwicha_device *device, kiwicha_status status, uint64_t found, uint64_t wanted)
{
    device->found = found;
    device->wanted = wanted;
    return status;
}

kiwicha_status kiwicha_probe(kiwicha_device *device, const kiwicha_port *port)
{
    static const kiwicha_memory none = {NULL, 0u, 0u};
    kiwicha_status status = KIWICHA_OK;
    uint32_t identity;
    uint32_t version;

    device->port = *port;
    device->program = NULL;
    device->memory = none;
    device->events = 0u;
    device->error_code = KIWICHA_ERROR_NONE;
    device->error_address = 0u;
    device->fingerprint = 0u;
    device->version_major = 0u;
    device->version_minor = 0u;
    device->address_width = 0u;
    identity = get(device, KIWICHA_IDENTITY_OFFSET);
    if (identity != KIWICHA_IDENTITY) {
        status = refused(device, KIWICHA_NO_MACHINE, identity, KIWICHA_IDENTITY);
    } else {
        version = get(device, KIWICHA_VERSION_OFFSET);
        device->version_major = (uint16_t)field(
            version, KIWICHA_VERSION_MAJOR_MASK, KIWICHA_VERSION_MAJOR_SHIFT);
        device->version_minor = (uint16_t)field(
            version, KIWICHA_VERSION_MINOR_MASK, KIWICHA_VERSION_MINOR_SHIFT);
        device->fingerprint = get(device, KIWICHA_FINGERPRINT_OFFSET);
        device->address_width = field(
            get(device, KIWICHA_MEMORY_PORT_OFFSET),
            KIWICHA_MEMORY_PORT_ADDRESS_WIDTH_MASK, KIWICHA_MEMORY_PORT_ADDRESS_WIDTH_SHIFT);
        if (device->address_width > WIDEST) {
            device->address_width = WIDEST;
        }
        if (device->version_major != KIWICHA_VERSION_MAJOR) {
            status = refused(
                device, KIWICHA_WRONG_VERSION, device->version_major, KIWICHA_VERSION_MAJOR);
        }
    }
    return status;
}

/* Whether `count` bytes from `start` on lie within `size`. */
static bool within(uint32_t start, uint32_t count, uint32_t size)
{
    return (start <= size) && (count <= (size - start));
}

/* Whether a program's numbers fit each other, so that nothing outside its memory is written. */
static bool whole(const kiwicha_program *program)
{
    const uint32_t end = program->memory_bytes;
    bool right = within(program->image_offset, program->image_bytes, end)
        && within(program->program_address, program->program_bytes, end)
        && (program->tensor_bytes <= end) && (program->alignment != 0u)
        && (program->read_window[1] <= end) && (program->write_window[1] <= end);
    uint32_t index;

    for (index = 0u; right && (index < program->relocation_count); index++) {
        right = (program->relocations[index] >= program->image_offset)
            && within(program->relocations[index] - program->image_offset, WORD_BYTES,
                program->image_bytes);
    }
    return right;
}

static kiwicha_status check(
    kiwicha_device *device, const kiwicha_program *program, const kiwicha_memory *memory)
{
    const uint64_t limit = ((uint64_t)1u << device->address_width) - program->alignment;
    const uint64_t base = memory->base;
    kiwicha_status status = KIWICHA_OK;

    if (program->version_major != device->version_major) {
        status = refused(
            device, KIWICHA_WRONG_VERSION, device->version_major, program->version_major);
    } else if (program->fingerprint != device->fingerprint) {
        status = refused(
            device, KIWICHA_WRONG_MACHINE, device->fingerprint, program->fingerprint);
    } else if (!whole(program)) {
        status = refused(device, KIWICHA_BROKEN_PROGRAM, 0u, 0u);
    } else if ((base % program->alignment) != 0u) {
        status = refused(device, KIWICHA_MISALIGNED, base, program->alignment);
    } else if (memory->bytes < program->memory_bytes) {
        status = refused(device, KIWICHA_MEMORY_SHORT, memory->bytes, program->memory_bytes);
    } else if ((base > limit) || (program->memory_bytes > (limit - base))) {
        status = refused(device, KIWICHA_OUT_OF_REACH, base, limit);
    } else if ((get(device, KIWICHA_STATUS_OFFSET) & WORKING) != 0u) {
        status = refused(device, KIWICHA_BUSY, 0u, 0u);
    } else {
        status = KIWICHA_OK;
    }
    return status;
}

/* Add to a little-endian word, wherever it lies. */
static void add(uint8_t *word, uint64_t amount)
{
    uint64_t value = 0u;
    uint32_t place;

    for (place = WORD_BYTES; place > 0u; place--) {
        value = (value << 8) | word[place - 1u];
    }
    value += amount;
    for (place = 0u; place < WORD_BYTES; place++) {
        word[place] = (uint8_t)(value & 0xFFu);
        value >>= 8;
    }
}

kiwicha_status kiwicha_load(
    kiwicha_device *device, const kiwicha_program *program, const kiwicha_memory *memory)
{
    const kiwicha_status status = check(device, program, memory);
    /* Copies, which no store of a byte changes: compilers then move words. */
    const uint32_t memory_bytes = program->memory_bytes;
    const uint32_t image_bytes = program->image_bytes;
    const uint32_t image_offset = program->image_offset;
    const uint8_t *const image = program->image;
    uint8_t *const data = memory->data;
    uint32_t place;

    if (status == KIWICHA_OK) {
        for (place = 0u; place < memory_bytes; place++) {
            data[place] = 0u;
        }
        for (place = 0u; place < image_bytes; place++) {
            data[image_offset + place] = image[place];
        }
        for (place = 0u; place < program->relocation_count; place++) {
            add(&memory->data[program->relocations[place]], memory->base);
        }
        if (device->port.flush != NULL) {
            device->port.flush(device->port.context, memory->data, program->memory_bytes);
        }
        device->program = program;
        device->memory = *memory;
    }
    return status;
}

uint8_t *kiwicha_data(const kiwicha_device *device, const kiwicha_tensor *tensor)
{
    return &device->memory.data[tensor->address];
}

kiwicha_status kiwicha_start(kiwicha_device *device)
{
    const kiwicha_program *program = device->program;
    const uint64_t base = device->memory.base;
    kiwicha_status status = KIWICHA_OK;

    if (program == NULL) {
        status = KIWICHA_NOT_LOADED;
    } else if ((get(device, KIWICHA_STATUS_OFFSET) & WORKING) != 0u) {
        status = KIWICHA_BUSY;
    } else {
        if (device->port.flush != NULL) {
            device->port.flush(
                device->port.context, device->memory.data, program->tensor_bytes);
        }
        put_address(device, KIWICHA_PROGRAM_ADDRESS_LOW_OFFSET, base + program->program_address);
        put(device, KIWICHA_PROGRAM_LENGTH_OFFSET, program->program_bytes);
        put_address(device, KIWICHA_READ_BASE_LOW_OFFSET, base + program->read_window[0]);
        put_address(device, KIWICHA_READ_LIMIT_LOW_OFFSET, base + program->read_window[1]);
        put_address(device, KIWICHA_WRITE_BASE_LOW_OFFSET, base + program->write_window[0]);
        put_address(device, KIWICHA_WRITE_LIMIT_LOW_OFFSET, base + program->write_window[1]);
        put(device, KIWICHA_INTERRUPT_STATUS_OFFSET, EVENTS);
        device->events = 0u;
        device->error_code = KIWICHA_ERROR_NONE;
        device->error_address = 0u;
        put(device, KIWICHA_INTERRUPT_ENABLE_OFFSET, EVENTS);
        put(device, KIWICHA_CONTROL_OFFSET, KIWICHA_CONTROL_START_MASK);
    }
    return status;
}

bool kiwicha_acknowledge(kiwicha_device *device)
{
    const uint32_t found = get(device, KIWICHA_INTERRUPT_STATUS_OFFSET) & EVENTS;

    /* Only ever set here: a handler between these lines must not be forgotten. */
    if (found != 0u) {
        put(device, KIWICHA_INTERRUPT_STATUS_OFFSET, found);
        device->events = found;
    }
    return found != 0u;
}

kiwicha_status kiwicha_wait(kiwicha_device *device, uint32_t limit)
{
    kiwicha_status status = KIWICHA_OK;
    uint32_t looks = 0u;

    if (device->program == NULL) {
        status = KIWICHA_NOT_LOADED;
    } else {
        while ((device->events == 0u) && (looks < limit)) {
            if (!kiwicha_acknowledge(device) && (device->port.idle != NULL)) {
                device->port.idle(device->port.context);
            }
            looks++;
        }
        if (device->events == 0u) {
            status = refused(device, KIWICHA_TIMEOUT, get(device, KIWICHA_STATUS_OFFSET), limit);
        } else {
            device->error_code = field(
                get(device, KIWICHA_ERROR_CODE_OFFSET),
                KIWICHA_ERROR_CODE_CODE_MASK, KIWICHA_ERROR_CODE_CODE_SHIFT);
            if (device->error_code != KIWICHA_ERROR_NONE) {
                device->error_address = get(device, KIWICHA_ERROR_ADDRESS_LOW_OFFSET)
                    | ((uint64_t)get(device, KIWICHA_ERROR_ADDRESS_HIGH_OFFSET) << 32);
                status = KIWICHA_STOPPED;
            }
            if (device->port.invalidate != NULL) {
                device->port.invalidate(
                    device->port.context, device->memory.data, device->program->tensor_bytes);
            }
        }
    }
    return status;
}

kiwicha_status kiwicha_run(kiwicha_device *device, uint32_t limit)
{
    kiwicha_status status = kiwicha_start(device);

    if (status == KIWICHA_OK) {
        status = kiwicha_wait(device, limit);
    }
    return status;
}

void kiwicha_abort(kiwicha_device *device)
{
    put(device, KIWICHA_CONTROL_OFFSET, KIWICHA_CONTROL_ABORT_MASK);
}

#define READ_COUNTER(name, offset) counters->name = get(device, (offset));

void kiwicha_read_counters(const kiwicha_device *device, kiwicha_counters *counters)
{
    KIWICHA_COUNTERS(READ_COUNTER)
}

static uint32_t word32(const uint8_t *octets)
{
    return (uint32_t)octets[0] | ((uint32_t)octets[1] << 8) | ((uint32_t)octets[2] << 16)
        | ((uint32_t)octets[3] << 24);
}

#define TAKE_COUNTER(name, offset) \
    counters->name = word32(&record[(offset) - KIWICHA_COUNTERS_OFFSET]);

void kiwicha_layer_counters(
    const kiwicha_device *device, const kiwicha_layer *layer, kiwicha_counters *counters)
{
    const uint8_t *record = &device->memory.data[layer->counters];

    KIWICHA_COUNTERS(TAKE_COUNTER)
}
