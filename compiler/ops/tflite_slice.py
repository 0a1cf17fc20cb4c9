# SPDX-License-Identifier: Apache-2.0
"""What SLICE and STRIDED_SLICE of TFLite take: indices of each axis, and axes that are new."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx

from kiwicha.compiler.frontend.onnx_node import attributes
from kiwicha.compiler.graph.graph import Shape
from kiwicha.compiler.ops.context import Context

__all__ = ["Taken", "taken"]


@dataclass(frozen=True)
class Taken:
    """An axis that is read, or made.

    Members
    -------
    indices : of the operand's axis; None where the axis is new, of length 1.
    stays : whether the result has it.
    """

    indices: range | None
    stays: bool = True

    @property
    def length(self) -> int:
        """How many indices there are."""
        return 1 if self.indices is None else len(self.indices)


def taken(context: Context, node: onnx.NodeProto, shape: Shape) -> list[Taken]:
    """Return what is taken of an operand of this shape, axis by axis; raises as `Context.constant`.
    """
    begin, end = (
        [int(v) for v in context.constant(node, place, name).reshape(-1)]
        for place, name in ((1, "begin"), (2, "end"))
    )
    if node.op_type == "SLICE":
        return [
            Taken(range(start, length if size < 0 else start + size))
            for length, start, size in zip(shape, begin, end, strict=True)
        ]
    steps = [int(v) for v in context.constant(node, 3, "strides").reshape(-1)]
    return list(_strided(node, shape, begin, end, steps))


def _strided(
    node: onnx.NodeProto, shape: Shape, begin: Sequence[int], end: Sequence[int],
    steps: Sequence[int],
) -> Iterator[Taken]:
    """Yield as LiteRT expands its masks (``BuildStridedSliceParams``): an ellipsis is one axis at
    least, and goes before a new axis, which goes before one that shrinks."""
    given = attributes(node)
    first, last, ellipsis, new, shrink = (
        int(given.get(f"{name}Mask", 0))
        for name in ("begin", "end", "ellipsis", "newAxis", "shrinkAxis")
    )
    added = (new & ~ellipsis & ((1 << len(begin)) - 1)).bit_count()
    axes, entry = iter(shape), 0
    left = len(shape)  # axes of the operand still to come
    while left or entry < len(begin):
        bit = 1 << entry
        if entry < len(begin) and not ellipsis & bit and new & bit:
            entry += 1
            yield Taken(None)
            continue
        if not left:
            return
        if entry >= len(begin):
            left -= 1
            yield Taken(range(next(axes)))
            continue
        if ellipsis & bit:
            for _ in range(min(left, max(1, 1 + added + len(shape) - len(begin)))):
                left -= 1
                yield Taken(range(next(axes)))
            entry += 1
            continue
        left, length = left - 1, next(axes)
        if shrink & bit:
            place = begin[entry] % length
            yield Taken(range(place, place + 1), stays=False)
        else:
            start = None if first & bit else begin[entry]
            stop = None if last & bit else end[entry]
            yield Taken(range(*slice(start, stop, steps[entry]).indices(length)))
        entry += 1
