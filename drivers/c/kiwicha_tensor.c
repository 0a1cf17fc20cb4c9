/* SPDX-License-Identifier: Apache-2.0 */
/* Real numbers in and out of tensors, with the bits of ONNX's QuantizeLinear and
 * DequantizeLinear (KIWICHA_AWAY: of TFLite's QUANTIZE). */
#include "kiwicha.h"

#define MOST_AXES 16u

/* The next element in ONNX order: its indices, and its place in memory. */
typedef struct {
    uint32_t index[MOST_AXES];
    uint32_t place;
} walk;

static bool walkable(const kiwicha_tensor *tensor)
{
    return ((tensor->kind == KIWICHA_AFFINE) || (tensor->kind == KIWICHA_AWAY))
        && ((tensor->strides != NULL) || (tensor->rank == 0u)) && (tensor->rank <= MOST_AXES);
}

static void step(walk *at, const kiwicha_tensor *tensor)
{
    uint32_t axis = tensor->rank;
    bool carry = true;

    while (carry && (axis > 0u)) {
        axis--;
        at->index[axis]++;
        at->place += tensor->strides[axis];
        carry = at->index[axis] == tensor->shape[axis];
        if (carry) {
            at->place -= tensor->strides[axis] * tensor->shape[axis];
            at->index[axis] = 0u;
        }
    }
}

static walk beginning(void)
{
    walk at;
    uint32_t axis;

    at.place = 0u;
    for (axis = 0u; axis < MOST_AXES; axis++) {
        at.index[axis] = 0u;
    }
    return at;
}

/* A small number to the nearest integer, halves to even: float cannot hold more bits above 2^23. */
static int32_t to_even(float value)
{
    const float large = 12582912.0f; /* 1.5 * 2^23 */
    volatile float sum = value + large;

    return (int32_t)(sum - large);
}

static int32_t away(float value)
{
    const int32_t cut = (int32_t)value;
    const float rest = value - (float)cut;
    int32_t rounded = cut;

    if (rest >= 0.5f) {
        rounded = cut + 1;
    } else if (rest <= -0.5f) {
        rounded = cut - 1;
    } else {
        rounded = cut;
    }
    return rounded;
}

static int32_t code_of(const kiwicha_tensor *tensor, float value)
{
    const int32_t low = tensor->is_signed ? -128 : 0;
    const int32_t high = low + 255;
    const float least = (float)(low - tensor->zero_point);
    const float most = (float)(high - tensor->zero_point);
    volatile float quotient = value / tensor->scale; /* binary32, whatever the processor has */
    const float real = quotient;
    int32_t code = low; /* also of what is no number */

    if ((tensor->kind == KIWICHA_AWAY) && (real >= 2147483648.0f)) {
        code = low; /* as where a conversion to int32 overflows */
    } else if (real >= most) {
        code = high;
    } else if (real > least) {
        code = tensor->zero_point + ((tensor->kind == KIWICHA_AWAY) ? away(real) : to_even(real));
    } else {
        code = low;
    }
    return code;
}

bool kiwicha_quantize(
    const kiwicha_device *device, const kiwicha_tensor *tensor, const float *values)
{
    const bool legal = walkable(tensor);
    uint8_t *data = kiwicha_data(device, tensor);
    walk at = beginning();
    uint32_t count;

    for (count = 0u; legal && (count < tensor->bytes); count++) {
        data[at.place] = (uint8_t)((uint32_t)code_of(tensor, values[count]) & 0xFFu);
        step(&at, tensor);
    }
    return legal;
}

bool kiwicha_dequantize(const kiwicha_device *device, const kiwicha_tensor *tensor, float *values)
{
    const bool legal = walkable(tensor);
    const uint8_t *data = kiwicha_data(device, tensor);
    walk at = beginning();
    uint32_t count;
    int32_t code;

    for (count = 0u; legal && (count < tensor->bytes); count++) {
        code = (int32_t)data[at.place];
        if (tensor->is_signed && (code > 127)) {
            code -= 256;
        }
        values[count] = (float)(code - tensor->zero_point) * tensor->scale;
        step(&at, tensor);
    }
    return legal;
}
