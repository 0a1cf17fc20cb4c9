# SPDX-License-Identifier: Apache-2.0
"""How fast bytes are moved: concatenations, parts, gathers and transpositions of an image."""

import argparse
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from kiwicha.bench.options import machine, measured
from kiwicha.bench.table import Table, say, terminal
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.sim.inference import run_model

__all__ = ["main", "moves"]

_COLUMNS = ("copy", "bytes", "cycles", "predicted", "bytes a cycle", "mismatches")


def _cases(side: int, channels: int, rng: np.random.Generator) -> dict[str, list[NodeProto]]:
    """Return for each copy the nodes that make 'y' of the image 'x', whose channels are last; first
    where it is given as a matrix."""

    def constant(name: str, values: Any) -> NodeProto:
        return helper.make_node(
            "Constant", [], [name], value=numpy_helper.from_array(np.asarray(values), name)
        )

    def reshape(source: str, shape: list[int], target: str) -> list[NodeProto]:
        name = f"{target}_shape"
        return [constant(name, shape), helper.make_node("Reshape", [source, name], [target])]

    def pixels(source: str) -> NodeProto:
        """What wants channels last."""
        return helper.make_node("MaxPool", [source], ["y"], kernel_shape=[1, 1], name="after")

    def part(first: list[int], last: list[int], axes: list[int]) -> list[NodeProto]:
        names = ("first", "last", "axes")
        given = [constant(*pair) for pair in zip(names, (first, last, axes), strict=True)]
        return [*given, helper.make_node("Slice", ["x", *names], ["y"])]

    def gather(axis: int, length: int) -> list[NodeProto]:
        taken = constant("taken", rng.permutation(length))
        return [taken, helper.make_node("Gather", ["x", "taken"], ["y"], axis=axis)]

    image, middle = [1, channels, side, side], side // 2
    shuffled = [1, channels // 4, 4, side, side]
    return {
        "Concat of channels": [helper.make_node("Concat", ["x", "x"], ["y"], axis=1)],
        "Slice of rows": part([1], [side - 1], [2]),
        "Slice of half the channels": part([channels // 2], [channels], [1]),
        "Gather of channels": gather(1, channels),
        "Gather of rows": gather(2, side),
        "Resize, twice as large": [
            constant("factors", np.array([1, 1, 2, 2], np.float32)),
            helper.make_node("Resize", ["x", "", "factors"], ["y"], mode="nearest"),
        ],
        "Transpose, channels first to last": [*reshape("x", image, "r"), pixels("r")],
        "channel shuffle, 4 groups": [
            *reshape("x", shuffled, "s"),
            helper.make_node("Transpose", ["s"], ["t"], perm=[0, 2, 1, 3, 4]),
            *reshape("t", image, "j"), pixels("j"),
        ],
        "DepthToSpace, CRD": [
            helper.make_node("DepthToSpace", ["x"], ["d"], blocksize=2, mode="CRD"), pixels("d")],
        "Pad, reflected": [
            constant("pads", [0, 0, 1, 1, 0, 0, middle // 2, 1]),
            helper.make_node("Pad", ["x", "pads"], ["y"], mode="reflect"),
        ],
    }


def _run(
    config: AcceleratorConfig, name: str, nodes: list[NodeProto], shape: list[int], latency: int,
    seed: int,
) -> dict[str, Any]:
    kind = TensorProto.INT8
    graph = helper.make_graph(
        nodes, "moves", [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    x = np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)
    report = run_model(model, config, {"x": x}, name=name, latency=latency).report
    wrong = report.mismatches + report.reference["mismatches"]
    if wrong:
        raise RuntimeError(f"{wrong} elements of '{name}' are wrong; no figure is given")
    copies = [layer for layer in report.layers if layer.op != "MaxPool"]
    return {
        "copy": name,
        "bytes": int(np.prod(copies[-1].y_shape)),
        "cycles": sum(layer.cycles for layer in copies),
        "predicted": sum(layer.predicted_cycles for layer in copies),
        "mismatches": wrong,
    }


def moves(
    config: AcceleratorConfig,
    *,
    side: int = 28,
    channels: int = 64,
    latency: int = 20,
    seed: int = 1,
    progress: Callable[[str], None] = say,
) -> Table:
    """Measure copies of an image of int8 codes.

    Parameters
    ----------
    side, channels : of the image; channels are a multiple of 4.
    latency : cycles from a read address to its first beat.
    """
    values = []
    cases = _cases(side, channels, np.random.default_rng(seed))
    for name, nodes in cases.items():
        progress(f"moves: {name} on '{config.name}'")
        matrix = "first to last" in name
        shape = [channels, side * side] if matrix else [1, channels, side, side]
        values.append(_run(config, name, nodes, shape, latency, seed))
    for figures in values:
        figures["rate"] = figures["bytes"] / figures["cycles"]
    rows = tuple(
        (
            figures["copy"],
            f"{figures['bytes']:,}",
            f"{figures['cycles']:,}",
            f"{figures['predicted']:,}",
            f"{figures['rate']:.2f}",
            str(figures["mismatches"]),
        )
        for figures in values
    )
    return Table(
        "moves",
        f"Copies of an image of {side}x{side}x{channels} bytes, channels last: {config.rows}x"
        f"{config.columns} array, {config.requantize_lanes} requantizers, "
        f"{'a' if config.transposer else 'no'} transposer",
        _COLUMNS,
        rows,
        (
            "Bytes are those of the result. All of them go through the requantizers, one each a "
            f"cycle: {config.requantize_lanes} bytes a cycle is all there is. Read from memory "
            f"(latency {latency}) and written back; equal to ONNX Runtime, or there is no table.",
            "What the compiler need not copy is not here: a part that its reader reaches where it "
            "lies, an operand that is written where a concatenation has it.",
        ),
        tuple(values),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="default")
    parser.add_argument("--latency", type=int, default=20, help="cycles of memory (default 20)")
    arguments = parser.parse_args()
    config = machine(parser, arguments.preset)
    measure = functools.partial(moves, config, latency=arguments.latency)
    measured(parser, config, measure).show(terminal())


if __name__ == "__main__":
    main()
