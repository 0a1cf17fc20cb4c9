# SPDX-License-Identifier: Apache-2.0
"""What is wrong with the fields of a VECTOR instruction, whatever they lead to."""

from collections.abc import Mapping

from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.encoding import window
from kiwicha.machine.isa import SLOTS, RealFunction, VectorMode
from kiwicha.machine.shifts import ACTIVATION_BITS

__all__ = ["illegal_field", "windowed"]


def illegal_field(cfg: AcceleratorConfig, fields: Mapping[str, int]) -> str | None:
    """Return why the hardware refuses the instruction's mode or channels, or None."""
    mode, has = fields["mode"], [VectorMode.REQUANTIZE]
    raw = cfg.dynamic or cfg.blocks.channels or cfg.statistics.elements or cfg.training
    has += [VectorMode.RAW] if raw else []
    has += [VectorMode.MEASURE, VectorMode.QUANTIZE] if cfg.dynamic else []
    has += [VectorMode.BLOCK] if cfg.blocks.channels else []
    has += [VectorMode.RANGE, VectorMode.SHIFT] if cfg.training else []
    has += [VectorMode.REAL] if cfg.real else []
    dynamic = mode in (VectorMode.MEASURE, VectorMode.QUANTIZE, VectorMode.REAL)
    ranges, shift = mode == VectorMode.RANGE, mode == VectorMode.SHIFT
    measure, real = mode == VectorMode.MEASURE or ranges, bool(dynamic and cfg.real)
    settles, masks = ranges and fields["settle"], shift and fields["residual"]
    operand = real and fields["residual"]
    counted, one = fields["statistics"], fields["only"]
    windows = windowed(cfg, fields)
    wrong = {
        "mode": mode not in has,
        "function": fields["function"] and not real
        and not (cfg.functions and mode == VectorMode.REQUANTIZE),
        "table": fields["table"] and not fields["function"] and not real
        or real and not _legal_functions(cfg, fields)
        or fields["function"] and not real and fields["table"] >= cfg.functions.tables,
        "residual": fields["residual"] and not real
        and not (cfg.residual and mode in (VectorMode.REQUANTIZE, VectorMode.SHIFT)),
        "sums": fields["sums"] and (not fields["residual"] or shift and fields["relu"]),
        "scales": fields["scales"] and mode != VectorMode.BLOCK
        and not (windows and _legal_window(cfg, fields))
        and not (operand and fields["scales"] % 4 == 0)
        and not (settles and fields["scales"] <= SLOTS),
        "slot": fields["slot"] and not (dynamic or ranges),
        "target": fields["target"] and not (dynamic or ranges or shift),
        "relu": fields["relu"] and not (dynamic or settles or masks),
        "high": settles and not 1 <= fields["high"] <= ACTIVATION_BITS,
        "zero_point": shift and fields["zero_point"] not in (0, 1),
        "settle": fields["settle"] and not measure,
        "tiles": fields["tiles"] and not cfg.blocks.channels,
        "tile_entries": fields["tile_entries"] and not (cfg.blocks.channels or windows),
        "statistics": counted
        and (measure or mode == VectorMode.REAL or not cfg.statistics.elements),
        "begin": fields["begin"] and not (measure or counted),
        "only": one and not counted,
        "channel": fields["channel"] and (not one or fields["channel"] >= fields["channels"]),
        "channels": not 0 <= fields["channels"] - 1 - fields["tiles"] * cfg.columns < cfg.columns,
    }
    bad = [name for name, is_wrong in wrong.items() if is_wrong]
    return f"{bad[0]} is {fields[bad[0]]}" if bad else None


def _legal_functions(cfg: AcceleratorConfig, fields: Mapping[str, int]) -> bool:
    """Return whether the machine has these functions of binary32 values, together with the rest."""
    asked, alone = fields["table"], fields["sums"] or not fields["residual"]
    if not cfg.real.functions:
        return not asked
    if asked & RealFunction.SCALED:
        return bool(not fields["function"] and alone and not asked & RealFunction.GATED)
    return not asked & RealFunction.GATED or bool(not fields["function"] and not alone)


def windowed(cfg: AcceleratorConfig, fields: Mapping[str, int]) -> bool:
    """Return whether results are made of windows of accumulators."""
    modes = [VectorMode.REQUANTIZE]
    if cfg.real and not fields["residual"]:
        modes += [VectorMode.MEASURE, VectorMode.QUANTIZE, VectorMode.REAL]
    return bool(fields["scales"]) and fields["mode"] in modes


def _legal_window(cfg: AcceleratorConfig, fields: Mapping[str, int]) -> bool:
    """Return whether the machine has windows of that size, of one column tile and not counted."""
    sizes = [window(fields)[name] for name in ("rows", "columns")]
    alone = not fields["tiles"] and not fields["statistics"]
    return alone and 1 <= min(sizes) and max(sizes) <= cfg.pooling.window
