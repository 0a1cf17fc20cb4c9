# SPDX-License-Identifier: Apache-2.0
"""Latencies of the engines in cycles, exact for every machine.

The unit that has a latency asserts it where it is built (`hw.parts.stated`); the performance model
reads it here. Numbers that contain a memory's latency are estimates and stand in `cost`.
"""

from typing import Final

from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import VectorMode
from kiwicha.machine.modes import CellFamily, RequantizeMode, SoftmaxMode

__all__ = [
    "ADD_LATENCY", "FIXED_PAIR_LATENCY", "LOSS_LATENCY", "LOSS_SPACING", "MUL_LATENCY",
    "POINTERS", "RANGE_SETTLE_LATENCY", "SETTLE_LATENCY", "SOFTMAX_GROUP", "SOFTMAX_SPACING",
    "WEIGHT_GROUP", "accumulator_hazard", "accumulator_latency", "compute_latency",
    "dynamic_latency", "function_latency", "instruction_gap", "measure_latency",
    "multiplier_latency", "pass_interval", "product_latency", "program_chunk", "range_latency",
    "real_latency", "requantize_latency", "requests_ahead", "residual_latency",
    "statistics_latency", "vector_fetch", "vector_latency",
]

WEIGHT_GROUP: Final = 7
"""Columns that take a row of weights in the same cycle. More would let a tile follow another in
no less than that many cycles; fewer gain nothing, as the engine around the array takes 7."""
SETTLE_LATENCY: Final = 56
"""To make scale and zero point of a range."""
RANGE_SETTLE_LATENCY: Final = 4
"""To make exponent and shift of a range."""
SOFTMAX_GROUP: Final = 8
"""Rows of a lane that SOFTMAX sums up column by column, so that a sum has time to be ready."""
SOFTMAX_SPACING: Final = {SoftmaxMode.ONNX: 6, SoftmaxMode.TFLITE: 2, SoftmaxMode.INTEGER: 2}
"""From one summand of a row to the next at least."""
ADD_LATENCY: Final = 8
"""Of a sum in binary32."""
MUL_LATENCY: Final = 6
"""Of MUL's product, up to its addition."""
FIXED_PAIR_LATENCY: Final = 10
"""Of sums and products in fixed point."""
LOSS_SPACING: Final = 6
"""From one division of CROSS_ENTROPY to the next: two bits of the quotient a cycle."""
LOSS_LATENCY: Final = 9
"""Of CROSS_ENTROPY's last pass over a row."""
POINTERS: Final = 4
"""Columns whose pointers a decoder takes in a cycle."""

_MULTIPLIER = {CellFamily.GENERIC: 2, CellFamily.ECP5: 4, CellFamily.ICE40: 3}
_LEVELS = {18: 2, 9: 3}  # of adders that join partial products of so many bits
_CELL = {CellFamily.ECP5: 2}  # that registers of a partial product's cell add
_FEED = 5  # from a step's position to its operands, without registers behind block RAM
_ALIGN = 2  # from a scratchpad's bytes to lanes in one unit
_GENERATOR = 2  # from COMPUTE's instruction to its first step's position
_OUTPUT = 2  # from a result to the read that sees it
_WALK = 2  # from VECTOR's instruction to its first step
_RAW_WRITES = 4  # of a step of RAW


def _has(cfg: AcceleratorConfig, *places: str) -> int:
    """How many of these places have registers for the clock."""
    return sum(place in cfg.pipeline for place in places)


def program_chunk(cfg: AcceleratorConfig) -> int:
    """Beats of the program that are read at once: 128 bytes, or a burst. Two such chunks are asked
    for or buffered."""
    return max(1, min(128 // cfg.beat_bytes, cfg.axi_burst_beats))


def requests_ahead(cfg: AcceleratorConfig) -> int:
    """Requests of a burst that are with the read master or on their way to it, those in flight
    included. None goes before them."""
    return 1 << (cfg.axi_outstanding + 3).bit_length()


def multiplier_latency(cells: CellFamily) -> int:
    """Of a processing element, from operands to product."""
    return _MULTIPLIER[cells]


def accumulator_latency(cfg: AcceleratorConfig) -> int:
    """From the entry that VECTOR reads to its columns."""
    return 1 + _has(cfg, "memory")


def accumulator_hazard(cfg: AcceleratorConfig) -> int:
    """From one update of an accumulator to the next that finds it."""
    return 3 + _has(cfg, "memory", "accumulator")


def instruction_gap(cfg: AcceleratorConfig) -> int:
    """Idle cycles of the array between two COMPUTE instructions.

    An accumulator may be updated again when it is written, however long that takes; operands that
    hold for an instruction take 4 cycles to change.
    """
    return max(4, accumulator_hazard(cfg)) - 1


def pass_interval(cfg: AcceleratorConfig) -> int:
    """From the first vector of a weight tile to that of the next at least, but for the tile's rows.

    A group of columns has to change over, and instructions have to follow each other.
    """
    return max(min(cfg.columns, WEIGHT_GROUP), instruction_gap(cfg) + 3)


def compute_latency(cfg: AcceleratorConfig) -> int:
    """From an instruction that makes one step, at an idle COMPUTE, to its `done`."""
    first = _GENERATOR + _has(cfg, "address") + _FEED + _has(cfg, "memory")
    first += _ALIGN if cfg.tags else 0
    array = cfg.rows + multiplier_latency(cfg.cells)
    return first + array + cfg.columns + accumulator_hazard(cfg) - 1


def product_latency(width: int, cells: CellFamily = CellFamily.GENERIC) -> int:
    """Of a requantizer's product, made of multipliers of ``width`` bits, or 0: of one."""
    return 1 + _LEVELS[width] + _CELL.get(cells, 0) if width else 1


def requantize_latency(cfg: AcceleratorConfig) -> int:
    """From an accumulator to the result of a requantizer."""
    registered = _has(cfg, "requantizer")
    product = product_latency(cfg.requantize_multiplier_width, cfg.cells)
    if cfg.requantize_mode is RequantizeMode.SHIFT:
        return 4 + registered
    if cfg.requantize_mode is RequantizeMode.ONNX:
        return 8 + 3 * registered + product
    return 5 + registered + product


def _tree(inputs: int) -> int:
    """Levels of a tree that joins two at a time."""
    return (inputs - 1).bit_length()


def _value(cfg: AcceleratorConfig) -> int:
    """From a dynamically quantized step to its value: two products, a sum, the choice of relu."""
    product = 6 + product_latency(cfg.requantize_multiplier_width)
    return 2 * product + 6 + (real_latency(cfg) if cfg.real else 0) + 1


def real_latency(cfg: AcceleratorConfig) -> int:
    """Of what is done to a dynamically quantized value before the choice of relu: in binary32
    again, chosen between it and an operand, times a slope or not, a sum, two bounds."""
    bounds = 2 if cfg.real.functions else 0
    return 2 + 1 + 6 + product_latency(cfg.requantize_multiplier_width) + 1 + 6 + bounds


def dynamic_latency(cfg: AcceleratorConfig) -> int:
    """From a step of QUANTIZE to its results: the value, a division of 9 cycles, zero and clamp."""
    return _value(cfg) + 9 + 2


def measure_latency(cfg: AcceleratorConfig) -> int:
    """From a step of MEASURE to the range with it."""
    return _value(cfg) + 2 + _tree(cfg.requantize_lanes)


def range_latency(cfg: AcceleratorConfig) -> int:
    """From a step of RANGE to the range with it: the sum, its magnitude, the greatest of them."""
    return 3 + _tree(cfg.requantize_lanes)


def statistics_latency(cfg: AcceleratorConfig) -> int:
    """What VECTOR's `done` waits for the statistics, after the output buffer."""
    return 5 + _tree(cfg.requantize_lanes) if cfg.statistics.elements else 0


def function_latency(cfg: AcceleratorConfig) -> int:
    """Of the tables on VECTOR's way out, in use or not."""
    return 2 if cfg.functions else 0


def residual_latency(cfg: AcceleratorConfig) -> int:
    """Of a sum on VECTOR's way out: its tables, then four cycles; of other results none."""
    return 5 + _has(cfg, "memory")


def vector_fetch(cfg: AcceleratorConfig) -> int:
    """From VECTOR's step to its operands: accumulators, then a lane's column out of several."""
    return accumulator_latency(cfg) + (1 if cfg.requantize_lanes == cfg.columns else 2)


def vector_latency(
    cfg: AcceleratorConfig, mode: VectorMode = VectorMode.REQUANTIZE, *, settle: bool = False,
    residual: bool = False,
) -> int:
    """From the transfer of an instruction of one step, of all lanes, to its `done`.

    That of BLOCK depends on the block and on what is under way, and is that of REQUANTIZE here. A
    mask (SHIFT with `relu`) is no `residual`: it takes no time.
    """
    after = {
        VectorMode.RAW: 2 + _RAW_WRITES - 1,
        VectorMode.MEASURE: measure_latency(cfg) + 1 + settle * SETTLE_LATENCY,
        VectorMode.RANGE: range_latency(cfg) + 1 + settle * RANGE_SETTLE_LATENCY,
        VectorMode.QUANTIZE: dynamic_latency(cfg),
        VectorMode.REAL: _value(cfg) + 2 + _RAW_WRITES,
    }
    lanes = after[mode] if mode in after else requantize_latency(cfg)
    if mode not in (VectorMode.MEASURE, VectorMode.RANGE):
        lanes += function_latency(cfg) + residual * residual_latency(cfg)
    return _WALK + vector_fetch(cfg) + lanes + _OUTPUT + statistics_latency(cfg)
