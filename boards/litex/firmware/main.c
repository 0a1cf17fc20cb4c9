/* SPDX-License-Identifier: Apache-2.0 */
/* Runs the samples that it was built with on the machine and prints what the results' bytes are. */
#include <generated/mem.h>

#include "kiwicha.h"
#include "platform.h"
#include "samples.h"

#define LOOKS 1000u
#define IDLE_TURNS 100000u

static kiwicha_device device;
static volatile uint32_t interrupts;

void platform_interrupt(void) {
  if (kiwicha_acknowledge(&device)) {
    interrupts++;
  }
}

static void flush(void *context, void *start, size_t bytes) {
  (void)context;
  (void)start;
  (void)bytes;
  platform_publish();
}

static void invalidate(void *context, void *start, size_t bytes) {
  (void)context;
  (void)start;
  (void)bytes;
  platform_forget();
}

/* This CPU does not sleep; the handler sets `events`. */
static void idle(void *context) {
  (void)context;
  for (uint32_t turn = 0; turn < IDLE_TURNS && device.events == 0u; turn++) {
  }
}

static kiwicha_status load(void) {
  static const kiwicha_memory memory = {
    (uint8_t *)(uintptr_t)MAIN_RAM_BASE, MAIN_RAM_BASE, MAIN_RAM_SIZE,
  };
  kiwicha_port port = kiwicha_mmio(KIWICHA_BASE);
  kiwicha_status status;

  port.flush = flush;
  port.invalidate = invalidate;
  port.idle = idle;
  status = kiwicha_probe(&device, &port);
  return status == KIWICHA_OK ? kiwicha_load(&device, network, &memory) : status;
}

static void write_inputs(uint32_t sample) {
  for (uint32_t index = 0; index < piece_count; index++) {
    const struct piece *piece = &samples[sample * piece_count + index];
    uint8_t *place = &device.memory.data[piece->address];
    for (uint32_t octet = 0; octet < piece->bytes; octet++) {
      place[octet] = piece->octets[octet];
    }
  }
}

static void print_results(void) {
  kiwicha_counters counters;

  kiwicha_read_counters(&device, &counters);
  print_line("cycles", counters.cycles_low);
  print_line("interrupts", interrupts);
  for (uint32_t index = 0; index < result_count; index++) {
    const struct region *result = &results[index];
    print_text("result ");
    print_number(result->address);
    print_text(" ");
    print_hex(&device.memory.data[result->address], result->bytes);
    print_text("\n");
  }
}

static void complain(kiwicha_status status) {
  char text[160];

  (void)kiwicha_error_text(&device, status, text, sizeof(text));
  print_text("error: ");
  print_text(text);
  print_text("\n");
}

int main(void) {
  kiwicha_status status;

  platform_start();
  print_text(network->name);
  print_text("\n");
  status = load();
  for (uint32_t sample = 0; status == KIWICHA_OK && sample < sample_count; sample++) {
    print_line("sample", sample);
    write_inputs(sample);
    status = kiwicha_run(&device, LOOKS);
    if (status == KIWICHA_OK) {
      print_results();
    }
  }
  if (status != KIWICHA_OK) {
    complain(status);
  }
  platform_end();
  return 0;
}
