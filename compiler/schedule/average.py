# SPDX-License-Identifier: Apache-2.0
"""Averages of whole images, as the array does them in the fewest cycles.

A window that is reduced channel by channel, with the identity, uses one of R rows. Where it is the
whole image, the channels of a pixel are a row of pixels (`schedule.folded`); and where the machine
can load activations as weights, the sum is a product as well: a row of ones times pixels x
channels, which uses all rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from kiwicha.compiler.graph.graph import PoolNode
from kiwicha.compiler.schedule.contraction import Contraction, Matrix, Place
from kiwicha.compiler.schedule.estimate import estimate
from kiwicha.compiler.schedule.mapping import contraction, pool_contractions
from kiwicha.compiler.schedule.search import choose_plan
from kiwicha.errors import KiwichaError
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import Reduction, WeightFormat

__all__ = ["window_contractions", "work_cycles"]

_LONGEST = 65535  # bytes of a line, and lines, that LOAD counts
_OVERLAP = 2 / 3  # of a product's estimate: column tiles load while others compute, which it omits


def window_contractions(
    node: PoolNode, addresses: Mapping[str, int], config: AcceleratorConfig
) -> list[Contraction]:
    """Return a pooling as work for the array, the faster one of two ways by estimated cycles;
    raises as `pool_contractions`."""
    plain = pool_contractions(node, addresses, config)
    _, channels, height, width = node.x.image
    whole = node.y.image[2:] == (1, 1) and node.kernel == (height, width) and not any(node.pads)
    if (
        not whole or node.reduction is not Reduction.SUM or not config.transposer
        or max(height * width, channels) > _LONGEST
    ):
        return plain
    products = [
        _product(node, image, addresses, config) for image in range(node.x.image[0])
    ]
    either = work_cycles(plain, config), work_cycles(products, config)
    return plain if either[0] < _OVERLAP * either[1] else products


def _product(
    node: PoolNode, image: int, addresses: Mapping[str, int], config: AcceleratorConfig
) -> Contraction:
    """Return the sums of one image: a row of ones times its pixels."""
    _, channels, height, width = node.x.image
    pixels, size = height * width, height * width * channels
    x, y = addresses[node.x.name] + image * size, addresses[node.y.name] + image * channels
    work = contraction(
        node, Place(0, 1, 1, 1, pixels), Place(y, 1, 1, 1, channels), config, node.scale,
        node.scale64, weights=None, weight_zero=node.x.zero_point, bias=0,
    )
    matrix = Matrix(x, WeightFormat.ROWS, channels, node.x.dtype == np.int8)
    return replace(work, matrix=matrix, ones=True, x_signed=False, x_zero=0)


def work_cycles(works: Sequence[Contraction], config: AcceleratorConfig) -> float:
    """Return the estimated cycles of works of one kind, more than any where one does not fit."""
    try:
        plan = choose_plan(works[0], config, len(works))
    except KiwichaError:
        return float("inf")
    return estimate(plan.form(works[0]), config, plan.tiling, len(works))[0]
