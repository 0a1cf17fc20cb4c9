/* SPDX-License-Identifier: Apache-2.0 */
/* Registers of every Kiwicha machine; generated. */
#ifndef KIWICHA_DRIVER_REGISTERS_H
#define KIWICHA_DRIVER_REGISTERS_H

#define KIWICHA_IDENTITY 0x4b495749u  /* what the register of this name reads: the letters "KIWI" */
#define KIWICHA_VERSION_MAJOR 0x00000002u  /* of the interface that this describes */
#define KIWICHA_VERSION_MINOR 0x00000000u
#define KIWICHA_APERTURE_BYTES 0x00001000u  /* size of the register space */
#define KIWICHA_COUNTERS_OFFSET 0x00000100u  /* where the counters begin */

#define KIWICHA_IDENTITY_OFFSET 0x00000000u  /* the letters "KIWI" */

#define KIWICHA_VERSION_OFFSET 0x00000004u  /* of the registers and the instructions */
#define KIWICHA_VERSION_MINOR_SHIFT 0x00000000u  /* grows with what is added */
#define KIWICHA_VERSION_MINOR_MASK 0x0000ffffu
#define KIWICHA_VERSION_MAJOR_SHIFT 0x00000010u  /* changes when old software breaks */
#define KIWICHA_VERSION_MAJOR_MASK 0xffff0000u

#define KIWICHA_FINGERPRINT_OFFSET 0x00000008u  /* hash of the configuration; a program names the one it was compiled for */

#define KIWICHA_ARRAY_OFFSET 0x00000010u  /* the array and the requantizers */
#define KIWICHA_ARRAY_ROWS_SHIFT 0x00000000u  /* array rows */
#define KIWICHA_ARRAY_ROWS_MASK 0x000000ffu
#define KIWICHA_ARRAY_COLUMNS_SHIFT 0x00000008u  /* array columns */
#define KIWICHA_ARRAY_COLUMNS_MASK 0x0000ff00u
#define KIWICHA_ARRAY_REQUANTIZE_LANES_SHIFT 0x00000010u  /* requantizers side by side */
#define KIWICHA_ARRAY_REQUANTIZE_LANES_MASK 0x00ff0000u
#define KIWICHA_ARRAY_REQUANTIZE_MODE_SHIFT 0x00000018u  /* rounding: 0 onnx, 1 tflite, 2 tflite-single, 3 shift */
#define KIWICHA_ARRAY_REQUANTIZE_MODE_MASK 0xff000000u

#define KIWICHA_MEMORY_PORT_OFFSET 0x00000014u  /* the AXI4 master */
#define KIWICHA_MEMORY_PORT_DATA_WIDTH_SHIFT 0x00000000u  /* bits of a beat */
#define KIWICHA_MEMORY_PORT_DATA_WIDTH_MASK 0x0000ffffu
#define KIWICHA_MEMORY_PORT_ADDRESS_WIDTH_SHIFT 0x00000010u  /* bits of an address */
#define KIWICHA_MEMORY_PORT_ADDRESS_WIDTH_MASK 0x00ff0000u
#define KIWICHA_MEMORY_PORT_OUTSTANDING_SHIFT 0x00000018u  /* read bursts in flight */
#define KIWICHA_MEMORY_PORT_OUTSTANDING_MASK 0xff000000u

#define KIWICHA_BURSTS_OFFSET 0x00000018u  /* bursts and instruction queues */
#define KIWICHA_BURSTS_BURST_BEATS_SHIFT 0x00000000u  /* longest burst in beats */
#define KIWICHA_BURSTS_BURST_BEATS_MASK 0x0000ffffu
#define KIWICHA_BURSTS_QUEUE_WORDS_SHIFT 0x00000010u  /* 64-bit words queued per engine */
#define KIWICHA_BURSTS_QUEUE_WORDS_MASK 0xffff0000u

#define KIWICHA_ACTIVATION_BYTES_OFFSET 0x0000001cu  /* activation scratchpad, bytes */

#define KIWICHA_WEIGHT_BYTES_OFFSET 0x00000020u  /* weight scratchpad, bytes */

#define KIWICHA_ACCUMULATOR_DEPTH_OFFSET 0x00000024u  /* int32 entries a column */

#define KIWICHA_OUTPUT_BYTES_OFFSET 0x00000028u  /* output buffer, bytes */

#define KIWICHA_PARAMETER_CHANNELS_OFFSET 0x0000002cu  /* channels of parameters */

#define KIWICHA_CONTROL_OFFSET 0x00000040u  /* commands; both read 0; in one write, start acts before abort */
#define KIWICHA_CONTROL_START_SHIFT 0x00000000u  /* run the program; ignored while one runs or is being stopped */
#define KIWICHA_CONTROL_START_MASK 0x00000001u
#define KIWICHA_CONTROL_ABORT_SHIFT 0x00000001u  /* stop the program that runs, or whose start is under way (with start: that one); ignored when there is none */
#define KIWICHA_CONTROL_ABORT_MASK 0x00000002u

#define KIWICHA_STATUS_OFFSET 0x00000044u  /* what the machine does */
#define KIWICHA_STATUS_IDLE_SHIFT 0x00000000u  /* nothing has run since reset */
#define KIWICHA_STATUS_IDLE_MASK 0x00000001u
#define KIWICHA_STATUS_RUNNING_SHIFT 0x00000001u  /* a program runs, or its start is under way */
#define KIWICHA_STATUS_RUNNING_MASK 0x00000002u
#define KIWICHA_STATUS_DRAINING_SHIFT 0x00000002u  /* stopped; open bus transactions are being finished */
#define KIWICHA_STATUS_DRAINING_MASK 0x00000004u
#define KIWICHA_STATUS_DONE_SHIFT 0x00000003u  /* the last program ran to its END */
#define KIWICHA_STATUS_DONE_MASK 0x00000008u
#define KIWICHA_STATUS_ERROR_SHIFT 0x00000004u  /* the last program was stopped; error_code says why; together with draining: a bus that never answers, reset both */
#define KIWICHA_STATUS_ERROR_MASK 0x00000010u
#define KIWICHA_STATUS_LOAD_BUSY_SHIFT 0x00000008u  /* instruction in flight */
#define KIWICHA_STATUS_LOAD_BUSY_MASK 0x00000100u
#define KIWICHA_STATUS_COMPUTE_BUSY_SHIFT 0x00000009u  /* instruction in flight */
#define KIWICHA_STATUS_COMPUTE_BUSY_MASK 0x00000200u
#define KIWICHA_STATUS_VECTOR_BUSY_SHIFT 0x0000000au  /* instruction in flight */
#define KIWICHA_STATUS_VECTOR_BUSY_MASK 0x00000400u
#define KIWICHA_STATUS_SPECIAL_BUSY_SHIFT 0x0000000bu  /* instruction in flight */
#define KIWICHA_STATUS_SPECIAL_BUSY_MASK 0x00000800u
#define KIWICHA_STATUS_STORE_BUSY_SHIFT 0x0000000cu  /* instruction in flight */
#define KIWICHA_STATUS_STORE_BUSY_MASK 0x00001000u
#define KIWICHA_STATUS_FETCH_BUSY_SHIFT 0x0000000du  /* program words are being read */
#define KIWICHA_STATUS_FETCH_BUSY_MASK 0x00002000u
#define KIWICHA_STATUS_MEMORY_BUSY_SHIFT 0x0000000eu  /* a bus transaction is open */
#define KIWICHA_STATUS_MEMORY_BUSY_MASK 0x00004000u
#define KIWICHA_STATUS_UPDATE_BUSY_SHIFT 0x0000000fu  /* instruction in flight */
#define KIWICHA_STATUS_UPDATE_BUSY_MASK 0x00008000u

#define KIWICHA_ERROR_CODE_OFFSET 0x00000048u  /* why the last program was stopped */
#define KIWICHA_ERROR_CODE_CODE_SHIFT 0x00000000u  /* 0: it was not; the next start clears it */
#define KIWICHA_ERROR_CODE_CODE_MASK 0x000000ffu

#define KIWICHA_ERROR_ADDRESS_LOW_OFFSET 0x00000050u  /* where the error was, depending on its code, low half */

#define KIWICHA_ERROR_ADDRESS_HIGH_OFFSET 0x00000054u  /* where the error was, depending on its code, high half */

#define KIWICHA_PROGRAM_ADDRESS_LOW_OFFSET 0x00000058u  /* byte address of the program, a multiple of the beat, low half */

#define KIWICHA_PROGRAM_ADDRESS_HIGH_OFFSET 0x0000005cu  /* byte address of the program, a multiple of the beat, high half */

#define KIWICHA_PROGRAM_LENGTH_OFFSET 0x00000060u  /* bytes, a multiple of 8 */

#define KIWICHA_INTERRUPT_ENABLE_OFFSET 0x00000064u  /* which events raise the interrupt */
#define KIWICHA_INTERRUPT_ENABLE_DONE_SHIFT 0x00000000u  /* a program ran to its END */
#define KIWICHA_INTERRUPT_ENABLE_DONE_MASK 0x00000001u
#define KIWICHA_INTERRUPT_ENABLE_ERROR_SHIFT 0x00000001u  /* a program was stopped */
#define KIWICHA_INTERRUPT_ENABLE_ERROR_MASK 0x00000002u

#define KIWICHA_INTERRUPT_STATUS_OFFSET 0x00000068u  /* which events happened; no start clears them */
#define KIWICHA_INTERRUPT_STATUS_DONE_SHIFT 0x00000000u  /* a program ran to its END */
#define KIWICHA_INTERRUPT_STATUS_DONE_MASK 0x00000001u
#define KIWICHA_INTERRUPT_STATUS_ERROR_SHIFT 0x00000001u  /* a program was stopped */
#define KIWICHA_INTERRUPT_STATUS_ERROR_MASK 0x00000002u

#define KIWICHA_WATCHDOG_OFFSET 0x0000006cu  /* cycles without progress; 0: any number */

#define KIWICHA_READ_BASE_LOW_OFFSET 0x00000070u  /* first byte that the machine may read, in whole beats, low half */

#define KIWICHA_READ_BASE_HIGH_OFFSET 0x00000074u  /* first byte that the machine may read, in whole beats, high half */

#define KIWICHA_READ_LIMIT_LOW_OFFSET 0x00000078u  /* first byte that it may not read any more, low half */

#define KIWICHA_READ_LIMIT_HIGH_OFFSET 0x0000007cu  /* first byte that it may not read any more, high half */

#define KIWICHA_WRITE_BASE_LOW_OFFSET 0x00000080u  /* first byte that the machine may write, in whole beats, low half */

#define KIWICHA_WRITE_BASE_HIGH_OFFSET 0x00000084u  /* first byte that the machine may write, in whole beats, high half */

#define KIWICHA_WRITE_LIMIT_LOW_OFFSET 0x00000088u  /* first byte that it may not write any more, low half */

#define KIWICHA_WRITE_LIMIT_HIGH_OFFSET 0x0000008cu  /* first byte that it may not write any more, high half */

#define KIWICHA_SCRATCH_OFFSET 0x00000090u  /* for software */

#define KIWICHA_RANDOM_SEED_OFFSET 0x00000094u  /* of the random words that round blocks */

#define KIWICHA_RANDOM_STEP_OFFSET 0x00000098u  /* training step, of the same */

#define KIWICHA_UPDATE_SATURATED_OFFSET 0x0000009cu  /* weights that saturated anywhere in an UPDATE since start */

#define KIWICHA_UPDATE_RATE_OFFSET 0x000000a0u  /* learning rate of each UPDATE that asks for it */
#define KIWICHA_UPDATE_RATE_FACTOR_SHIFT 0x00000000u  /* c5, UQ1.16, at most 1 */
#define KIWICHA_UPDATE_RATE_FACTOR_MASK 0x0001ffffu
#define KIWICHA_UPDATE_RATE_SHIFT_SHIFT 0x00000011u  /* added to rate_shift, the sum 31 at most */
#define KIWICHA_UPDATE_RATE_SHIFT_MASK 0x003e0000u

#define KIWICHA_SUMS_CLAMPED_OFFSET 0x000000a4u  /* sums on VECTOR's way out beyond their bounds since start: weights that an in-place update took to a bound */

#define KIWICHA_CYCLES_LOW_OFFSET 0x00000100u  /* cycles since start, low half */

#define KIWICHA_CYCLES_HIGH_OFFSET 0x00000104u  /* cycles since start, high half */

#define KIWICHA_READ_BEATS_OFFSET 0x00000108u  /* beats read */

#define KIWICHA_WRITTEN_BEATS_OFFSET 0x0000010cu  /* beats written */

#define KIWICHA_LOAD_BUSY_OFFSET 0x00000110u  /* cycles with an instruction in flight */

#define KIWICHA_LOAD_STALLED_OFFSET 0x00000114u  /* cycles waiting for a token */

#define KIWICHA_COMPUTE_BUSY_OFFSET 0x00000118u  /* cycles with an instruction in flight */

#define KIWICHA_COMPUTE_STALLED_OFFSET 0x0000011cu  /* cycles waiting for a token */

#define KIWICHA_VECTOR_BUSY_OFFSET 0x00000120u  /* cycles with an instruction in flight */

#define KIWICHA_VECTOR_STALLED_OFFSET 0x00000124u  /* cycles waiting for a token */

#define KIWICHA_SPECIAL_BUSY_OFFSET 0x00000128u  /* cycles with an instruction in flight */

#define KIWICHA_SPECIAL_STALLED_OFFSET 0x0000012cu  /* cycles waiting for a token */

#define KIWICHA_STORE_BUSY_OFFSET 0x00000130u  /* cycles with an instruction in flight */

#define KIWICHA_STORE_STALLED_OFFSET 0x00000134u  /* cycles waiting for a token */

#define KIWICHA_STEPS_OFFSET 0x00000138u  /* input vectors that entered the array */

#define KIWICHA_UPDATE_BUSY_OFFSET 0x0000013cu  /* cycles with an UPDATE in flight */

#define KIWICHA_ERROR_NONE 0x00000000u
#define KIWICHA_ERROR_ILLEGAL_OPCODE 0x00000001u
#define KIWICHA_ERROR_ILLEGAL_FIELD 0x00000002u
#define KIWICHA_ERROR_PROGRAM_END 0x00000003u
#define KIWICHA_ERROR_READ_WINDOW 0x00000004u
#define KIWICHA_ERROR_WRITE_WINDOW 0x00000005u
#define KIWICHA_ERROR_READ_RESPONSE 0x00000006u
#define KIWICHA_ERROR_WRITE_RESPONSE 0x00000007u
#define KIWICHA_ERROR_SCRATCHPAD_RANGE 0x00000008u
#define KIWICHA_ERROR_TOKEN_OVERFLOW 0x00000009u
#define KIWICHA_ERROR_WATCHDOG 0x0000000au
#define KIWICHA_ERROR_ABORTED 0x0000000bu
#define KIWICHA_ERROR_MALFORMED_STREAM 0x0000000cu
#define KIWICHA_ERROR_DYNAMIC_RANGE 0x0000000du

#define KIWICHA_DETAIL_NOTHING 0x00000000u  /* error_address holds: 0 */
#define KIWICHA_DETAIL_MEMORY 0x00000001u  /* error_address holds: byte address in memory */
#define KIWICHA_DETAIL_UNIT 0x00000002u  /* error_address holds: number of the unit, see below */
#define KIWICHA_DETAIL_STREAM 0x00000003u  /* error_address holds: byte in the compressed stream */

/* Counters of every machine: name, offset */
#define KIWICHA_COUNTERS(ENTRY) \
    ENTRY(cycles_low, 0x100u) \
    ENTRY(cycles_high, 0x104u) \
    ENTRY(read_beats, 0x108u) \
    ENTRY(written_beats, 0x10cu) \
    ENTRY(load_busy, 0x110u) \
    ENTRY(load_stalled, 0x114u) \
    ENTRY(compute_busy, 0x118u) \
    ENTRY(compute_stalled, 0x11cu) \
    ENTRY(vector_busy, 0x120u) \
    ENTRY(vector_stalled, 0x124u) \
    ENTRY(special_busy, 0x128u) \
    ENTRY(special_stalled, 0x12cu) \
    ENTRY(store_busy, 0x130u) \
    ENTRY(store_stalled, 0x134u) \
    ENTRY(steps, 0x138u)

/* Why a machine stops: code, what error_address holds, name, meaning */
#define KIWICHA_ERRORS(ENTRY) \
    ENTRY(0u, KIWICHA_DETAIL_NOTHING, "NONE", "no error since the last start") \
    ENTRY(1u, KIWICHA_DETAIL_MEMORY, "ILLEGAL_OPCODE", "an instruction for no engine of this machine") \
    ENTRY(2u, KIWICHA_DETAIL_UNIT, "ILLEGAL_FIELD", "a field, or program_address or program_length, outside its legal range") \
    ENTRY(3u, KIWICHA_DETAIL_MEMORY, "PROGRAM_END", "the program ran past its length without END") \
    ENTRY(4u, KIWICHA_DETAIL_MEMORY, "READ_WINDOW", "a read outside the granted window; the bus did not see it") \
    ENTRY(5u, KIWICHA_DETAIL_MEMORY, "WRITE_WINDOW", "a write outside the granted window; the bus did not see it") \
    ENTRY(6u, KIWICHA_DETAIL_MEMORY, "READ_RESPONSE", "SLVERR or DECERR on a read") \
    ENTRY(7u, KIWICHA_DETAIL_MEMORY, "WRITE_RESPONSE", "SLVERR or DECERR on a write") \
    ENTRY(8u, KIWICHA_DETAIL_UNIT, "SCRATCHPAD_RANGE", "an on-chip address outside its memory") \
    ENTRY(9u, KIWICHA_DETAIL_UNIT, "TOKEN_OVERFLOW", "more tokens signalled than a counter holds") \
    ENTRY(10u, KIWICHA_DETAIL_NOTHING, "WATCHDOG", "no progress for as many cycles as the register watchdog says") \
    ENTRY(11u, KIWICHA_DETAIL_NOTHING, "ABORTED", "software asked the machine to stop") \
    ENTRY(12u, KIWICHA_DETAIL_STREAM, "MALFORMED_STREAM", "compressed weights that no encoder makes") \
    ENTRY(13u, KIWICHA_DETAIL_UNIT, "DYNAMIC_RANGE", "a tensor to be quantized by its own range, which is not finite")

/* Units by the numbers that error_address holds */
#define KIWICHA_UNITS(ENTRY) \
    ENTRY(0u, "LOAD") \
    ENTRY(1u, "COMPUTE") \
    ENTRY(2u, "VECTOR") \
    ENTRY(3u, "SPECIAL") \
    ENTRY(4u, "STORE") \
    ENTRY(5u, "UPDATE") \
    ENTRY(6u, "DISPATCH") \
    ENTRY(7u, "FETCH")

#endif
