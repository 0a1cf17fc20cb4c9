/* SPDX-License-Identifier: Apache-2.0 */
/* What the firmware is to run, and to print of it; generated. */
#ifndef KIWICHA_SAMPLES_H
#define KIWICHA_SAMPLES_H

#include <stdint.h>

#include "kiwicha.h"

/* Bytes that belong into memory before a start; address from the image's beginning. */
struct piece {
  uint32_t address;
  uint32_t bytes;
  const uint8_t *octets;
};

struct region {
  uint32_t address;
  uint32_t bytes;
};

extern const kiwicha_program *const network;
extern const uint32_t sample_count;
extern const uint32_t piece_count; /* of one sample */
extern const uint32_t result_count;
extern const struct piece samples[]; /* sample_count times piece_count */
extern const struct region results[];

#endif
