/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Driver of Kiwicha machines: C99, freestanding, no allocation, no global state.
 *
 * One device is one machine; calls on it are made by one thread. docs/drivers.md has an example.
 * Program and tensors come from `kiwicha compile --c`. Nothing is written to the machine or to
 * memory by a call that returns an error, but by kiwicha_start and kiwicha_run.
 */
#ifndef KIWICHA_H
#define KIWICHA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kiwicha_registers.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What became of a call; kiwicha_error_text has the sentence. */
typedef enum {
    KIWICHA_OK = 0,
    KIWICHA_NO_MACHINE,     /* the identity register does not read "KIWI" */
    KIWICHA_WRONG_VERSION,  /* of the interface: of this driver or program, and of the machine */
    KIWICHA_WRONG_MACHINE,  /* the program is for a machine with another fingerprint */
    KIWICHA_MISALIGNED,     /* the base is no multiple of a beat */
    KIWICHA_MEMORY_SHORT,   /* the program needs more memory than it is given */
    KIWICHA_OUT_OF_REACH,   /* memory ends beyond the machine's addresses */
    KIWICHA_BROKEN_PROGRAM, /* its parts contradict each other */
    KIWICHA_NOT_LOADED,     /* no program is loaded */
    KIWICHA_BUSY,           /* a program runs, or is being stopped */
    KIWICHA_TIMEOUT,        /* neither END nor error within the limit; the program still runs */
    KIWICHA_STOPPED         /* the machine stopped with an error */
} kiwicha_status;

/* How a machine is reached. */
typedef struct {
    void *context; /* what the hooks are given */
    /* Registers, by byte offset. */
    uint32_t (*read32)(void *context, uint32_t offset);
    void (*write32)(void *context, uint32_t offset, uint32_t value);
    /* Makes what the processor wrote visible to the machine, barriers included; NULL: it is. */
    void (*flush)(void *context, void *start, size_t bytes);
    /* Forgets what the processor has cached of what the machine wrote; NULL: nothing. */
    void (*invalidate)(void *context, void *start, size_t bytes);
    /* Sleeps until an interrupt, or any while; NULL: kiwicha_wait polls without. */
    void (*idle)(void *context);
} kiwicha_port;

/* What the codes of a tensor are worth. */
typedef enum {
    KIWICHA_CODES,    /* int8 or uint8 as they are */
    KIWICHA_AFFINE,   /* real = scale (code - zero_point); halves are rounded to even */
    KIWICHA_AWAY,     /* the same; halves are rounded away from zero */
    KIWICHA_INT32,    /* little endian */
    KIWICHA_BINARY32, /* little endian */
    KIWICHA_OTHER     /* docs/programs.md and the manifest say what */
} kiwicha_kind;

/* A graph input or output in memory. */
typedef struct {
    const char *name;
    uint32_t address;    /* bytes from the beginning of the image */
    uint32_t bytes;
    kiwicha_kind kind;
    bool is_signed;      /* int8, else uint8 */
    float scale;
    int32_t zero_point;
    uint8_t rank;
    const uint32_t *shape;   /* of the graph input or output, in ONNX order */
    const uint32_t *strides; /* bytes in memory along each axis; NULL: there are no such numbers */
} kiwicha_tensor;

/* Where a layer's counters are, once it has run. */
typedef struct {
    const char *name;
    uint32_t counters; /* bytes from the beginning of the image */
} kiwicha_layer;

/* A compiled model. */
typedef struct {
    const char *name;
    uint32_t fingerprint;
    uint16_t version_major;
    uint16_t version_minor;
    uint32_t alignment;     /* of the base, in bytes */
    uint32_t memory_bytes;  /* what it needs from the base on */
    uint32_t tensor_bytes;  /* the first of these hold inputs and results, which change */
    uint32_t image_offset;  /* where in memory the image begins; zeros before */
    uint32_t image_bytes;
    const uint8_t *image;
    uint32_t relocation_count;
    const uint32_t *relocations; /* offsets in memory of the 64-bit words that are addresses */
    uint32_t program_address;
    uint32_t program_bytes;
    uint32_t read_window[2]; /* base, limit */
    uint32_t write_window[2];
    uint32_t input_count;
    const kiwicha_tensor *inputs;
    uint32_t output_count;
    const kiwicha_tensor *outputs;
    uint32_t layer_count;
    const kiwicha_layer *layers;
} kiwicha_program;

/* Memory that a program may have. */
typedef struct {
    uint8_t *data; /* as the processor sees it */
    uint64_t base; /* as the machine sees it: a byte address, a multiple of the alignment */
    size_t bytes;
} kiwicha_memory;

/* Counters of a program so far, or of one at the end of a layer, in cycles but for beats. */
#define KIWICHA_COUNTER_MEMBER(name, offset) uint32_t name;
typedef struct {
    KIWICHA_COUNTERS(KIWICHA_COUNTER_MEMBER)
} kiwicha_counters;
#undef KIWICHA_COUNTER_MEMBER

/* A machine; filled by kiwicha_probe, and not to be touched. */
typedef struct {
    kiwicha_port port;
    uint32_t fingerprint;
    uint16_t version_major;
    uint16_t version_minor;
    uint32_t address_width;
    const kiwicha_program *program;
    kiwicha_memory memory;
    volatile uint32_t events;
    uint32_t error_code;
    uint64_t error_address;
    uint64_t found; /* for kiwicha_error_text */
    uint64_t wanted;
} kiwicha_device;

/* Registers in the processor's memory, at this address; no caches, no interrupt. */
kiwicha_port kiwicha_mmio(uintptr_t registers);

/* Look whether there is a machine that this driver understands. */
kiwicha_status kiwicha_probe(kiwicha_device *device, const kiwicha_port *port);

/* Put a program into memory, moved to its base; inputs and results are zero then. */
kiwicha_status kiwicha_load(
    kiwicha_device *device, const kiwicha_program *program, const kiwicha_memory *memory);

/* Where a tensor's bytes are; write inputs before kiwicha_start, read outputs after kiwicha_wait. */
uint8_t *kiwicha_data(const kiwicha_device *device, const kiwicha_tensor *tensor);

/* Grant the windows and start the program that is loaded. */
kiwicha_status kiwicha_start(kiwicha_device *device);

/*
 * Wait until the program has ended. Looks at the machine `limit` times at most, with the hook
 * `idle` in between.
 */
kiwicha_status kiwicha_wait(kiwicha_device *device, uint32_t limit);

/* kiwicha_start, then kiwicha_wait. */
kiwicha_status kiwicha_run(kiwicha_device *device, uint32_t limit);

/*
 * Take the machine's interrupt back; for an interrupt handler, kiwicha_wait sees what it saw.
 * Returns whether there was one.
 */
bool kiwicha_acknowledge(kiwicha_device *device);

/* Stop the program that runs; kiwicha_wait then returns KIWICHA_STOPPED, with code ABORTED. */
void kiwicha_abort(kiwicha_device *device);

/* Counters of the last program. */
void kiwicha_read_counters(const kiwicha_device *device, kiwicha_counters *counters);

/* Counters at the end of a layer, of the program that has run. */
void kiwicha_layer_counters(
    const kiwicha_device *device, const kiwicha_layer *layer, kiwicha_counters *counters);

/*
 * Write what a call returned as one sentence, with a NUL, cut to `size` bytes; returns its length.
 * To be asked before the next call on the device.
 */
size_t kiwicha_error_text(
    const kiwicha_device *device, kiwicha_status status, char *text, size_t size);

/* Name of an error code of the machine, such as "READ_WINDOW". */
const char *kiwicha_error_name(uint32_t code);

/*
 * Put an input in: values in ONNX order, as many as its shape has. False, and nothing written, for
 * tensors that are not KIWICHA_AFFINE or KIWICHA_AWAY or have no strides. (kiwicha_tensor.c; the
 * only floating point here.)
 */
bool kiwicha_quantize(
    const kiwicha_device *device, const kiwicha_tensor *tensor, const float *values);

/* Take an output out; false as of kiwicha_quantize. */
bool kiwicha_dequantize(const kiwicha_device *device, const kiwicha_tensor *tensor, float *values);

#ifdef __cplusplus
}
#endif

#endif
