/* SPDX-License-Identifier: Apache-2.0 */
#include "platform.h"

#include <generated/csr.h>
#include <generated/mem.h>
#include <generated/soc.h>
#include <irq.h>
#include <system.h>

#ifdef CSR_SDRAM_BASE
#include <generated/sdram_phy.h>
#endif

void isr(void);

void isr(void) {
  if ((irq_pending() & irq_getmask() & (1u << KIWICHA_INTERRUPT)) != 0u) {
    platform_interrupt();
  }
}

void platform_start(void) {
#ifdef CSR_SDRAM_BASE
  sdram_dfii_control_write(DFII_CONTROL_CKE | DFII_CONTROL_ODT | DFII_CONTROL_RESET_N);
  init_sequence();
  sdram_dfii_control_write(DFII_CONTROL_SEL);
#endif
  kiwicha_ev_enable_write(1);
  irq_setmask(irq_getmask() | 1u << KIWICHA_INTERRUPT);
  irq_setie(1);
}

/* LiteX's L2 cache has no command: reading twice as much as it holds puts all lines out. */
static void evict_l2(void) {
#ifdef CONFIG_L2_SIZE
  for (uintptr_t place = 0; place < 2 * CONFIG_L2_SIZE; place += 4) {
    (void)*(volatile const uint32_t *)(MAIN_RAM_BASE + place);
  }
#endif
}

/* VexRiscv writes through its own cache. */
void platform_publish(void) {
  __asm__ volatile("fence" ::: "memory");
  evict_l2();
}

void platform_forget(void) {
  evict_l2();
  flush_cpu_dcache();
  __asm__ volatile("" ::: "memory");
}

static void put(char letter) {
  while (uart_txfull_read() != 0) {
  }
  uart_rxtx_write((uint8_t)letter);
}

void print_text(const char *text) {
  while (*text != '\0') {
    put(*text++);
  }
}

void print_number(uint32_t value) {
  char digits[10];
  size_t count = 0;
  do {
    digits[count++] = (char)('0' + value % 10u);
    value /= 10u;
  } while (value != 0u);
  while (count != 0u) {
    put(digits[--count]);
  }
}

void print_line(const char *text, uint32_t value) {
  print_text(text);
  print_text(" ");
  print_number(value);
  print_text("\n");
}

void print_hex(const uint8_t *bytes, size_t count) {
  static const char letters[] = "0123456789abcdef";
  for (size_t index = 0; index < count; index++) {
    put(letters[bytes[index] >> 4]);
    put(letters[bytes[index] & 15u]);
  }
}

void platform_end(void) {
  put('\x04');
}
