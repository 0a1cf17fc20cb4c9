# SPDX-License-Identifier: Apache-2.0
"""What LiteRT computes: of a TFLite file as it is, and of each operator by itself.

Its reference kernels (``BUILTIN_REF``) are the judge. What it runs by default (``BUILTIN``: XNNPACK
where that has a kernel) differs from them in some results; where is found out here, and is no fault
of ours.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.frontend.tflite.model import TfliteModel
from kiwicha.compiler.frontend.tflite.runtime import interpreter, schema
from kiwicha.compiler.frontend.tflite.writer import packed
from kiwicha.compiler.graph.graph import Graph, Node, Note, SoftmaxNode, ViewNode
from kiwicha.errors import InputError, ModelError, first_line
from kiwicha.golden.softmax import rows_that_overflow
from kiwicha.machine.tables import TFLITE_ROW

__all__ = [
    "file_values", "kernel_notes", "made_tensor", "operator_reference", "refuse_overflow",
    "run_file", "runtime_version",
]

Arrays = Mapping[str, NDArray[Any]]
_TO_FILE = (0, 2, 3, 1)


def runtime_version() -> str:
    """Return the version of the interpreter that is installed."""
    try:
        return version("ai-edge-litert")
    except PackageNotFoundError:  # a build of somebody's own
        return "unknown"


def run_file(model: TfliteModel, inputs: Arrays, optimized: bool = False) -> dict[str, Any]:
    """Return the graph outputs by name.

    Parameters
    ----------
    optimized : by the kernels that LiteRT takes by default, else by the reference kernels.

    Raises
    ------
    ModelError
        When LiteRT refuses the model.
    """
    return _run(model.content, model, [v.name for v in model.outputs], inputs, optimized)


def operator_reference(
    model: TfliteModel, name: str, values: Arrays, optimized: bool = False
) -> NDArray[Any]:
    """Return what one operator makes of the inputs that it really had.

    Parameters
    ----------
    name : of the tensor that it makes; several operators may make one each.
    values : of its inputs, in the file's order, by name.
    """
    return np.asarray(_run(_alone(model, name), model, [name], values, optimized)[name])


def refuse_overflow(graph: Graph, tensors: Arrays) -> None:
    """Refuse inputs on which LiteRT's SOFTMAX ends the process, and ours with it.

    Parameters
    ----------
    tensors : of the graph, by name, as the golden operators compute them.

    Raises
    ------
    InputError
        When the exponentials of a row add up to `TFLITE_ROW`; names operator, row and sum.
    """
    for node in graph.nodes:
        if isinstance(node, SoftmaxNode):
            rows = rows_that_overflow(tensors[node.x.name], float(node.x.scale))
            if rows.size:
                raise InputError(
                    f"with these inputs, {node.name} ({node.op}): the exponentials of row "
                    f"{rows[0]} add up to {TFLITE_ROW} or more, where LiteRT's reference kernel "
                    "ends the process; no result to compare with"
                )


def file_values(graph: Graph, tensors: Arrays) -> dict[str, NDArray[Any]]:
    """Return tensors by the file's names in the file's order of axes."""
    found = dict(tensors)
    for name, own in graph.images.items():
        if name in tensors:
            found[own] = tensors[name].transpose(_TO_FILE)
    return found


def made_tensor(model: TfliteModel, graph: Graph, node: Node) -> str | None:
    """Return the file's tensor that a node computes, where an operator makes it: the node's result,
    or a view of that; None where there is none, as of views and of parts of operators."""
    if isinstance(node, ViewNode):
        return None
    seen = [node.y.name]
    for own in seen:
        name = graph.images.get(own, own)
        if model.operator_of(name) is not None:
            return name
        seen += [
            view.y.name for view in graph.nodes
            if isinstance(view, ViewNode) and view.x.name == own
        ]
    return None


def kernel_notes(
    model: TfliteModel, graph: Graph, nodes: tuple[Node, ...], tensors: Arrays, inputs: Arrays
) -> list[Note]:
    """Return in words where LiteRT's optimized kernels differ from its reference kernels: in the
    outputs of the whole model, and operator by operator for the same inputs."""
    expected, found = run_file(model, inputs), run_file(model, inputs, optimized=True)
    total = sum(value.size for value in expected.values())
    count = sum(int(np.count_nonzero(found[name] != expected[name])) for name in expected)
    values, differ = file_values(graph, tensors), list[str]()
    for node in nodes:
        if (name := made_tensor(model, graph, node)) is None:
            continue
        plain, fast = (operator_reference(model, name, values, each) for each in (False, True))
        if wrong := int(np.count_nonzero(plain != fast)):
            # Of the names that a converter has joined, the last is the operator's own.
            differ.append(f"'{name.split(';')[-1]}' {wrong:,} of {plain.size:,}")
    if not count and not differ:
        return []
    layers = f"; layer by layer: {', '.join(differ)}" if differ else ""
    return [Note(
        "LiteRT", f"its optimized kernels differ from its reference kernels in {count:,} of "
        f"{total:,} output elements{layers}",
    )]


def _run(
    content: bytes, model: TfliteModel, names: list[str], values: Arrays, optimized: bool
) -> dict[str, Any]:
    litert = interpreter()
    kinds = litert.OpResolverType
    try:
        with _without_greeting() if optimized else nullcontext():
            runner = litert.Interpreter(
                model_content=content,
                experimental_op_resolver_type=kinds.BUILTIN if optimized else kinds.BUILTIN_REF,
                num_threads=1,
            )
        given = [value.name for value in model.inputs]
        slots = runner.get_input_details()
        if content is not model.content:
            given = [slot["name"] for slot in slots]
        for slot, name in zip(slots, given, strict=True):
            if tuple(slot["shape"]) != values[name].shape:
                runner.resize_tensor_input(slot["index"], values[name].shape)
        runner.allocate_tensors()
        for slot, name in zip(slots, given, strict=True):
            runner.set_tensor(slot["index"], np.ascontiguousarray(values[name]))
        runner.invoke()
        return {
            name: runner.get_tensor(slot["index"]).copy()
            for slot, name in zip(runner.get_output_details(), names, strict=True)
        }
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"LiteRT refuses the model: {first_line(error)}") from None


@contextmanager
def _without_greeting() -> Iterator[None]:
    """Drop what LiteRT writes past Python to the terminal when it first takes its fast kernels."""
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@lru_cache(maxsize=512)
def _alone(model: TfliteModel, name: str) -> bytes:
    """Return a file of the one operator that makes a tensor, its tensors named as in here."""
    classes = schema()
    made = classes.ModelT.InitFromObj(classes.Model.GetRootAsModel(model.content, 0))
    graph = made.subgraphs[0]
    names = list(model.tensors)
    for tensor, own in zip(graph.tensors, names, strict=True):
        tensor.name = own.encode()
    place = names.index(name)
    operator = next(each for each in graph.operators if place in list(each.outputs))
    read = [index for index in operator.inputs if index >= 0]
    graph.operators = [operator]
    graph.inputs = [index for index in read if not model.tensors[names[index]].constant]
    graph.outputs = [place]
    # Only what the operator reads and makes, so that the file stays small.
    kept = sorted({*read, *operator.outputs})
    for index, tensor in enumerate(graph.tensors):
        if index not in kept:
            tensor.buffer = 0
        else:
            tensor.shape = list(model.tensors[names[index]].shape)
    used = {graph.tensors[index].buffer for index in kept}
    for index, buffer in enumerate(made.buffers):
        if index not in used:
            buffer.data = None
    made.metadata, made.signatureDefs = None, None
    return packed(made)
