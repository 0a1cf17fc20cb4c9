# SPDX-License-Identifier: Apache-2.0
"""Products of two dynamically quantized tensors as contractions.

The machine takes a weight's zero point from the instruction and its scale from a parameter, but
both follow from values here. So a product of the record that holds them makes what is needed of
their bytes: a parameter for each column, and rows of 255 - zero point. These, as weights with zero
point 255, add -Zz times the sum of each row of x - Zx.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from kiwicha.compiler.graph.graph import DynamicProductNode, Tensor
from kiwicha.compiler.schedule.by_range import Dynamic
from kiwicha.compiler.schedule.contraction import Contraction, Found, Matrix, Place
from kiwicha.compiler.schedule.product import operand_lines, operand_offset, product_works
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import PARAMETER_BYTES, SLOT_BYTES
from kiwicha.machine.records import PARAMETER_RECORD
from kiwicha.machine.scales import encode_scale

__all__ = ["dynamic_product_contractions"]


def dynamic_product_contractions(
    node: DynamicProductNode, addresses: Mapping[str, int], config: AcceleratorConfig
) -> list[Contraction]:
    """Return what makes parameters and zero points, then the products; twice where there are
    several and their range has to be known first.

    Raises
    ------
    KiwichaError
        As `compiler.schedule.product.product_contractions`.
    """
    scratch = addresses[node.scratch.name]
    groups = -(-min(node.columns, config.columns) // config.requantize_lanes)
    block = groups * config.parameter_lanes * PARAMETER_BYTES
    found = Found(scratch, block, scratch + block)
    record = addresses[node.z_record.name] + SLOT_BYTES * node.z_slot
    first = _bytes(node, record, scratch, block, config)
    form, pitch, steps = operand_lines(node.name, node.op, node.z)
    x = replace(node.x, zero_point=0)
    made = []
    shape = (*np.broadcast_shapes(node.x.shape[:-2], node.z.shape[:-2]), node.x.shape[-2],
             node.columns)
    y = Tensor(node.y.name, shape, node.y.dtype, np.float32(1), 0)
    raw = node.target is None
    for place, work in product_works(
        node.name, node.op, x, y, addresses, np.zeros(node.columns, np.int64)
    ):
        address = addresses[node.z.name] + operand_offset(place, node.z, steps)
        if raw:  # whole rows, of four bytes a result
            start = addresses[y.name]
            work = replace(work, y=replace(
                work.y, address=start + 4 * (work.y.address - start), pitch=0
            ))
        made.append(replace(
            work, low=0, high=255, found=found, matrix=Matrix(address, form, pitch, signed=False),
            dynamic=Dynamic(node.slot, node.target, node.relu),
        ))
    if len(made) == 1 or raw:
        return [first, *made]
    ends = len(made) - 1
    measured = [
        replace(work, dynamic=Dynamic(
            node.slot, node.target, node.relu, part="measure", begin=place == 0,
            settle=place == ends,
        ))
        for place, work in enumerate(made)
    ]
    return [first, *measured, *(
        replace(work, dynamic=Dynamic(node.slot, node.target, node.relu, part="quantize"))
        for work in made
    )]


def _bytes(
    node: DynamicProductNode, record: int, scratch: int, block: int, config: AcceleratorConfig
) -> Contraction:
    """Return the product that makes bytes of a scale and a zero point."""
    parameters = np.zeros(block // PARAMETER_BYTES, PARAMETER_RECORD)
    if node.target is not None:  # to floats -0 is added, to sums the integer 0
        parameters["bias"] = np.array(-0.0, np.float32).view(np.int32)
    fixed = parameters.view(np.uint8)
    outputs = block + min(node.columns, config.columns)
    bias, weights = np.full(outputs, 255, np.int32), np.zeros((outputs, SLOT_BYTES), np.int8)
    bias[:block] = fixed
    place = PARAMETER_RECORD.fields["multiplier"][1] if PARAMETER_RECORD.fields else 0
    for octet in range(4):
        weights[place + octet : block : PARAMETER_BYTES, octet] = 1
    multiplier, shift = encode_scale(config.requantize_mode, np.float32(1), np.float64(1))
    weights[block:, 4] = -1  # the zero point is behind the scale
    return Contraction(
        name=node.name,
        op=node.op,
        x=Place(record, 1, 1, 1, SLOT_BYTES),
        y=Place(scratch, 1, 1, 1, outputs),
        kernel=(1, 1),
        strides=(1, 1),
        pads=(0, 0),
        dilations=(1, 1),
        groups=1,
        weights=weights[:, None, None, :],
        weight_zero=np.zeros(outputs, np.int64),
        bias=bias,
        multiplier=np.full(outputs, multiplier, np.uint32),
        shift=np.full(outputs, shift, np.int64),
        x_signed=False,
        x_zero=0,
        pad=0,
        y_zero=0,
        low=0,
        high=255,
    )

