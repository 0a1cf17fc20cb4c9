/* SPDX-License-Identifier: Apache-2.0 */
/* What firmware needs of a LiteX SoC with VexRiscv: text, memory, caches, the interrupt. */
#ifndef KIWICHA_PLATFORM_H
#define KIWICHA_PLATFORM_H

#include <stddef.h>
#include <stdint.h>

/* Bring the SDRAM up, where there is one, and let the machine's interrupt through. */
void platform_start(void);

/* What the CPU has written is in memory afterwards, for who reads it past the caches. */
void platform_publish(void);

/* What the CPU reads afterwards comes from memory, not from a cache. */
void platform_forget(void);

/* The firmware has this: takes the machine's interrupt back, which calls it. */
void platform_interrupt(void);

void print_text(const char *text);
void print_number(uint32_t value);
void print_line(const char *text, uint32_t value);
void print_hex(const uint8_t *bytes, size_t count);

/* Tell whoever watches that the firmware is over. */
void platform_end(void);

#endif
