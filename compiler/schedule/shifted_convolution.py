# SPDX-License-Identifier: Apache-2.0
"""The three convolutions of a layer that is trained, as contractions.

Kernels lie in memory as channels x rows x columns x outputs. The forward pass reads a tap's inputs
as rows of weights, the errors read them as columns, with the taps in the other order; with strides,
each phase of the image has taps of its own, as in a transposed convolution. The gradient of kernels
is a convolution, too: the planes of the image with the error for their kernel. Where columns that
are a stride apart are planes of their own, it is one for each of these.

Groups are one such work each, between channels that have others between them. Where each channel is
a group, columns of the array filter: then all three have the same form, the gradient's taps being
the pixels of the error.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from kiwicha.compiler.graph.tensor import Tensor
from kiwicha.compiler.graph.training_nodes import ShiftedConvNode, ShiftedNode
from kiwicha.compiler.schedule.contraction import Contraction, Matrix, Place, Summed
from kiwicha.compiler.schedule.transposed import Phase, phases
from kiwicha.machine.isa import WeightFormat

__all__ = [
    "Places", "convolution_works", "dense_places", "filter_works", "group_places", "image_of",
    "is_depthwise", "is_empty", "plain_work",
]


@dataclass(frozen=True)
class Places:
    """Where the operands and the result of a convolution lie.

    Members
    -------
    x, y : of the node's; of WG the planes of the image, and the kernels as planes, too.
    z : address of its other operand.
    outputs : bytes from a tap of an input of the kernels, or from a pixel of WG's error, to the
        next.
    images : bytes from one image of planes to the next.
    """

    x: Place
    y: Place
    z: int
    outputs: int
    images: int


def is_depthwise(node: ShiftedConvNode) -> bool:
    """Whether each channel is a group, with one result."""
    channels = node.x.shape[-3 if node.role == "WG" else 3]
    results = node.z.shape[3]
    return node.groups == channels == results > 1


def dense_places(node: ShiftedConvNode, addresses: Mapping[str, int]) -> Places:
    """Return the places of all channels."""
    z, outputs = addresses[node.z.name], node.z.shape[3]
    if node.role != "WG":
        return Places(image_of(node.x, addresses), image_of(node.y, addresses), z, outputs, 0)
    channels, height, width = node.x.shape[-3:]
    x = Place(addresses[node.x.name], channels, height, width, 1)
    y = Place(addresses[node.y.name], node.y.shape[0], *node.kernel, outputs)
    return Places(x, y, z, outputs, node.x.size // node.x.shape[0])


def group_places(node: ShiftedConvNode, addresses: Mapping[str, int]) -> Iterator[Places]:
    """Yield those of each group."""
    whole = dense_places(node, addresses)
    planes = node.role == "WG"
    per = node.z.shape[3] // node.groups
    for group in range(node.groups):
        channels = whole.x.images // node.groups
        if planes and channels == 1:  # of pixels as they lie
            _, _, height, width = node.x.shape
            x = _channels(replace(whole.x, images=1, channels=node.groups), group, node.groups)
            whole = replace(whole, images=node.groups * height * width)
        elif planes:
            first = whole.x.address + group * channels * whole.x.image_bytes
            x = replace(whole.x, address=first, images=channels)
        else:
            x = _channels(whole.x, group, node.groups)
        y = _channels(whole.y, group, node.groups)
        # Of kernels and errors a group has the results; of EB they are the operand's channels.
        yield replace(whole, x=x, y=y, z=whole.z + group * per)


def _channels(place: Place, group: int, groups: int) -> Place:
    channels = place.channels // groups
    return replace(
        place, address=place.address + group * channels, channels=channels, step=place.channels,
        pitch=place.row_bytes,
    )


def is_empty(work: Contraction) -> bool:
    """Whether all sums are of padding, and so 0."""
    return work.channelwise and work.kernel == (1, 1) and work.pads[0] >= work.y.height


def convolution_works(node: ShiftedConvNode, places: Places) -> Iterator[Contraction]:
    """Yield the sums of a convolution between these places, all of whose channels meet."""
    if node.role == "FP":
        yield _forward(node, places)
    elif node.role == "EB":
        yield from _errors(node, places)
    elif len(node.x.shape) == 4:
        yield _gradient(node, places)
    else:
        yield from _gradients(node, places)


def filter_works(node: ShiftedConvNode, places: Places) -> Iterator[Contraction]:
    """Yield the sums of a depthwise convolution, whose kernels lie as taps x channels."""
    (_, columns), size = node.kernel, places.outputs
    if node.role == "EB":
        for work in _errors(node, places):
            matrix = work.matrix
            if matrix is not None:
                matrix = replace(matrix, form=WeightFormat.ROWS, pitch=size)
            yield replace(work, matrix=matrix, groups=1 if matrix is None else size)
        return
    matrix = Matrix(places.z, WeightFormat.ROWS, size, True, columns * size, size)
    if node.role == "FP":
        yield replace(_forward(node, places), groups=size, matrix=matrix)
        return
    images, channels, height, width = node.x.shape
    _, rows, columns, _ = node.z.shape
    x = Place(places.x.address, 1, height, width, channels)
    y = replace(places.y, images=1)
    yield replace(
        plain_work(node, x, y), kernel=(rows, columns), dilations=node.strides,
        pads=node.pads[:2], groups=size, matrix=replace(matrix, row=columns * size),
        summed=Summed(images, x.image_bytes, rows * columns * size),
    )


def _forward(node: ShiftedConvNode, places: Places) -> Contraction:
    (rows, columns), outputs = node.kernel, places.outputs
    matrix = Matrix(
        places.z, WeightFormat.ROWS, rows * columns * outputs, True, columns * outputs, outputs
    )
    return replace(
        plain_work(node, places.x, places.y), kernel=node.kernel, strides=node.strides,
        pads=node.pads[:2], matrix=matrix,
    )


def _errors(node: ShiftedConvNode, places: Places) -> Iterator[Contraction]:
    """Yield a convolution for each phase of the image."""
    x, y = places.x, places.y
    (rows, columns), outputs = node.kernel, places.outputs
    axes = [
        list(phases(size, node.kernel[k], node.strides[k], node.pads[k], 1))
        for k, size in enumerate((y.height, y.width))
    ]
    for row, column in product(*axes):
        place = _phase_place(node, y, row, column)
        for source, target in _by_image(x, place, y) if place.pitch else [(x, place)]:
            work = plain_work(node, source, target)
            if not (row.taps and column.taps):  # no window reaches these: they are of padding
                empty = replace(source, channels=y.channels, pitch=0, step=0)
                yield replace(work, x=empty, pads=(target.height, 0))
                continue
            first = (row.taps[0] * columns + column.taps[0]) * outputs
            matrix = Matrix(
                places.z + first, WeightFormat.COLUMNS, rows * columns * outputs, True,
                -node.strides[0] * columns * outputs, -node.strides[1] * outputs,
            )
            yield replace(
                work, kernel=(len(row.taps), len(column.taps)), pads=(row.pad, column.pad),
                matrix=matrix,
            )


def _phase_place(node: ShiftedConvNode, y: Place, row: Phase, column: Phase) -> Place:
    """Return where a phase lies in the image."""
    down, across = node.strides
    if down == across == 1:
        return y
    start = y.address + row.first * y.row_bytes + column.first * y.pixel_bytes
    return replace(
        y, address=start, height=row.count, width=column.count, pitch=down * y.row_bytes,
        step=across * y.pixel_bytes if column.count > 1 or y.step else 0,
    )


def _by_image(x: Place, place: Place, y: Place) -> Iterator[tuple[Place, Place]]:
    """Yield both image by image: the pitch of a phase says nothing of the next image."""
    for image in range(y.images):
        yield (
            replace(x, address=x.address + image * x.image_bytes, images=1),
            replace(place, address=place.address + image * y.image_bytes, images=1),
        )


def _gradients(node: ShiftedConvNode, places: Places) -> Iterator[Contraction]:
    """Yield the gradient of the kernel columns that meet the same planes, for all such."""
    across = node.strides[1]
    x, y, pad = places.x, places.y, node.pads[1]
    for plane in range(across):
        taps = [k for k in range(node.kernel[1]) if (k - pad) % across == plane]
        if not taps:
            continue
        source = replace(x, address=x.address + plane * (places.images // across))
        target = replace(
            y, address=y.address + taps[0] * y.pixel_bytes, width=len(taps),
            step=across * y.pixel_bytes if len(taps) > 1 or y.step else 0, pitch=y.row_bytes,
        )
        work = _gradient(node, replace(places, x=source, y=target))
        # Plane `plane` has column across * i + plane of the image.
        before = (plane - (taps[0] - pad)) // across
        yield replace(work, dilations=(node.strides[0], 1), pads=(node.pads[0], before))


def _gradient(node: ShiftedConvNode, places: Places) -> Contraction:
    _, rows, columns, _ = node.z.shape
    outputs = places.outputs
    matrix = Matrix(
        places.z, WeightFormat.ROWS, outputs, True, columns * outputs, outputs
    )
    x, kernel, row = places.x, (rows, columns), columns * outputs
    if node.kernel == node.strides == (1, 1) and not any(node.pads):
        # Each pixel meets its own: a row of all of them is one run.
        x = replace(x, height=1, width=x.height * x.width)
        kernel, row = (1, rows * columns), rows * columns * outputs
    return replace(
        plain_work(node, x, places.y), kernel=kernel, dilations=node.strides,
        pads=node.pads[:2], matrix=replace(matrix, row=row),
        summed=Summed(node.x.shape[0], places.images, rows * columns * outputs),
    )


def plain_work(node: ShiftedNode, x: Place, y: Place) -> Contraction:
    """Return sums of single pixels, to be changed."""
    zeros = np.zeros(y.channels, np.int32)
    return Contraction(
        name=node.name, op=node.op, x=x, y=y, kernel=(1, 1), strides=(1, 1), pads=(0, 0),
        dilations=(1, 1), groups=1, weights=None, weight_zero=zeros.astype(np.int64), bias=zeros,
        multiplier=zeros.view(np.uint32), shift=zeros.astype(np.int64), x_zero=node.x.zero_point,
        x_signed=node.x.dtype == np.int8, pad=0, y_zero=0, low=node.low, high=node.high,
    )


def image_of(tensor: Tensor, addresses: Mapping[str, int]) -> Place:
    """Return where images, or rows, lie."""
    *rows, size = tensor.shape
    shape = (1, *rows, 1, size) if len(rows) == 1 else (*(1, 1, 1)[len(rows) :], *rows, size)
    images, height, width, channels = shape
    return Place(addresses[tensor.name], images, height, width, channels)
