# SPDX-License-Identifier: Apache-2.0
"""Models of versions that ONNX Runtime does not read, as models of the newest that it does; and
functions of a model's own, written out where they are called."""

import onnx
from onnx import inliner, version_converter

from kiwicha.errors import ModelError, first_line

__all__ = ["IR_VERSION", "OPSET", "as_runtime_reads", "inlined"]

IR_VERSION, OPSET = 13, 26
"""The newest that ONNX Runtime 1.31 reads; operator sets beyond are under development there."""
_ONNX = ("", "ai.onnx")


def as_runtime_reads(model: onnx.ModelProto, name: str = "the model") -> onnx.ModelProto:
    """Return the model in versions that ONNX Runtime reads; itself where it is.

    An IR version is a number on the file. Operators are converted by ONNX, which refuses whatever
    had another meaning.

    Raises
    ------
    ModelError
        Where an operator is newer; begins with ``name``.
    """
    opset = max((o.version for o in model.opset_import if o.domain in _ONNX), default=0)
    if model.ir_version <= IR_VERSION and opset <= OPSET:
        return model
    made = onnx.ModelProto()
    made.CopyFrom(model)
    if opset > OPSET:
        try:
            made = _converted(made, opset)
        except Exception as error:  # of no common base
            raise ModelError(
                f"{name}: operator set {opset}; ONNX Runtime reads those up to {OPSET}, and the "
                f"model has no form in it: {first_line(error)}"
            ) from None
    made.ir_version = min(made.ir_version, IR_VERSION)
    return made


def _converted(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Return the model in `OPSET`: only the number changes where no operator did."""
    graph = model.graph
    used = {node.op_type for node in graph.node if node.domain in _ONNX}
    inner = any(
        attribute.HasField("g") or attribute.graphs for node in graph.node
        for attribute in node.attribute
    )
    if inner or any(
        onnx.defs.get_schema(kind, opset).since_version > OPSET for kind in used
    ):
        return version_converter.convert_version(model, OPSET)
    for entry in model.opset_import:
        if entry.domain in _ONNX:
            entry.version = OPSET
    return model


def inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model without functions of its own; itself where it has none."""
    return inliner.inline_local_functions(model) if model.functions else model
