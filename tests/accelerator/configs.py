# SPDX-License-Identifier: Apache-2.0
"""Random legal configurations, small enough to simulate in seconds."""

import numpy as np

from kiwicha.machine.capabilities import WEIGHT_FORMATS, Interleave, Pooling, Sparse, Special
from kiwicha.machine.config import PIPELINE, AcceleratorConfig
from kiwicha.machine.modes import RequantizeMode, SoftmaxMode

__all__ = ["random_config"]


def random_config(seed: int) -> AcceleratorConfig:
    """Return the configuration of a seed: any shape up to 12 x 12, memories down to the smallest.

    One in ten has a long side, of up to 128 rows or columns, and at most 4 of the other.

    One value in seven or more is at its lower limit, so that single rows, columns, lanes, beats and
    the smallest memories meet each other.
    """
    rng = np.random.default_rng(seed)

    def pick(low: int, high: int) -> int:
        return low if rng.random() < 0.15 else int(rng.integers(low, high + 1))

    def power(low: int, high: int) -> int:
        return 1 << pick((low - 1).bit_length(), high.bit_length() - 1)

    modes = [RequantizeMode.ONNX] * 6 + [RequantizeMode.TFLITE, RequantizeMode.TFLITE_SINGLE]
    rows, columns = pick(1, 12), pick(1, 12)
    # What a machine may do without comes from a draw of its own.
    extras = np.random.default_rng([seed, 1])
    registers = np.random.default_rng([seed, 5])
    long = np.random.default_rng([seed, 4])
    windows = np.random.default_rng([seed, 6])
    beside = np.random.default_rng([seed, 7])
    if long.random() < 0.1:
        sides = [int(long.integers(65, 129)), min(rows, columns, 4)]
        rows, columns = sides if long.random() < 0.5 else sides[::-1]
    pitch = 1 << (columns - 1).bit_length()
    return AcceleratorConfig(
        name=f"random{seed}", rows=rows, columns=columns,
        axi_data_width=int(rng.choice([64, 128, 256])), axi_address_width=pick(18, 48),
        axi_burst_beats=power(1, 256), axi_outstanding=pick(1, 16),
        activation_bytes=power(256, 8192), weight_bytes=power(max(256, 2 * rows * pitch), 8192),
        accumulator_depth=power(16, 512), output_bytes=power(256, 4096),
        parameter_channels=power(max(16, 2 * pitch), 256),
        requantize_mode=modes[int(rng.integers(len(modes)))],
        requantize_lanes=pick(1, min(columns, 12)),
        requantize_multiplier_width=int(rng.choice([0, 9, 18])), queue_words=power(16, 128),
        transposer=bool(extras.random() < 0.25),
        sparse=Sparse(
            formats=tuple(
                form for form in WEIGHT_FORMATS
                if extras.random() < 0.05 and (form != "bitmask" or pitch >= 8)
            ),
            entries=int(extras.integers(1, 9)),
        ),
        special=Special(
            lanes=int(extras.choice([0, 0, 0, 1, 2, 4])),
            bytes=1 << int(extras.integers(8, 11)),
            entries=1 << int(extras.integers(8, 10)),
            softmax=SoftmaxMode(extras.choice([mode.value for mode in SoftmaxMode])),
        ),
        pooling=Pooling(window=int(windows.choice([0, 2, 3, 5, 15]))),
        interleave=Interleave(
            rows=tuple(each for each in range(3, 17, 2) if beside.random() < 0.1)
        ),
        pipeline=tuple(place for place in PIPELINE if registers.random() < 0.5),
    )
