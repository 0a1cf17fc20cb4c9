# SPDX-License-Identifier: Apache-2.0
"""The node tests of the package onnx as models that a user would bring.

A test whose graph is integer, or quantized, is taken as it is. One in float32 is quantized by ONNX
Runtime, calibrated with its own inputs: what it calls inputs though networks have constants there,
such as shapes and weights, becomes constants first.
"""

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from kiwicha.compiler.frontend.versions import as_runtime_reads
from kiwicha.errors import ModelError

__all__ = ["AS_GIVEN", "FORMS", "Case", "cases", "quantized"]

AS_GIVEN = "as given"
FORMS = {
    "QDQ uint8": (QuantFormat.QDQ, QuantType.QUInt8),
    "QDQ int8": (QuantFormat.QDQ, QuantType.QInt8),
    "QOperator uint8": (QuantFormat.QOperator, QuantType.QUInt8),
    "QOperator int8": (QuantFormat.QOperator, QuantType.QInt8),
}
"""Format and type of activations; weights are int8."""
_INTEGERS = {
    TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16, TensorProto.INT32,
    TensorProto.UINT32, TensorProto.INT64, TensorProto.UINT64, TensorProto.BOOL,
}
_QUANTIZED = {
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul",
    "MatMulInteger", "ConvInteger",
}
_WEIGHTS = {
    "BatchNormalization", "Clip", "Conv", "ConvTranspose", "DeformConv", "Dropout", "GRU", "Gemm",
    "GroupNormalization", "InstanceNormalization", "LSTM", "LayerNormalization", "PRelu", "Pad",
    "RMSNormalization", "RNN", "Resize", "Upsample",
}
"""Operators whose inputs behind the first are constants in networks."""


@dataclass(frozen=True, eq=False)
class Case:
    """One test.

    Members
    -------
    inputs : arrays by graph input name, none for a constant.
    forms : `AS_GIVEN`, or those of `FORMS`.
    """

    name: str
    model: onnx.ModelProto
    inputs: dict[str, NDArray[Any]]
    forms: tuple[str, ...]

    @property
    def operators(self) -> str:
        """The operators of the test, before it was quantized."""
        return ", ".join(dict.fromkeys(node.op_type for node in self.model.graph.node))


@cache
def cases() -> tuple[Case, ...]:
    """Return all tests that are integer, or float32, by name.

    Those in other types have no quantized form, nor have sequences and generators of numbers. What
    has ``_expanded`` in its name is the definition of another test's operator.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some tests overflow on purpose
        from onnx.backend.test.loader import load_model_tests

        tests = load_model_tests(kind="node")
    found = []
    for test in tests:
        if test.model is not None and test.data_sets and "_expanded" not in test.name:
            made = _case(test.name, test.model, test.data_sets[0][0])
            found += [] if made is None else [made]
    return tuple(sorted(found, key=lambda case: case.name))


def _case(name: str, model: onnx.ModelProto, arrays: Any) -> Case | None:
    graph = model.graph
    values = (*graph.input, *graph.output)
    kinds = {value.type.tensor_type.elem_type for value in values}
    if not graph.input or not kinds <= _INTEGERS | {TensorProto.FLOAT}:
        return None
    inputs = {
        value.name: np.asarray(array) for value, array in zip(graph.input, arrays, strict=False)
    }
    written = any(node.op_type in _QUANTIZED for node in graph.node)
    integer = written or kinds <= _INTEGERS
    rest = written or any(node.op_type in _WEIGHTS for node in graph.node)
    legal = {TensorProto.FLOAT, *(_INTEGERS - {TensorProto.INT64} if integer else ())}
    fixed = {
        value.name for place, value in enumerate(graph.input)
        if (place and rest) or (value.type.tensor_type.elem_type not in legal and not integer)
        or (place and value.type.tensor_type.elem_type not in legal)
    }
    if len(fixed) == len(inputs):
        return None
    try:
        model = as_runtime_reads(model)
    except ModelError:
        pass  # the verdict says so
    forms = (AS_GIVEN,) if integer else tuple(FORMS)
    return Case(name, _with_constants(model, inputs, fixed), inputs, forms)


def _with_constants(
    model: onnx.ModelProto, arrays: dict[str, NDArray[Any]], names: set[str]
) -> onnx.ModelProto:
    """Return the model with some inputs as constants; their arrays are taken away."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for value in [value for value in made.graph.input if value.name in names]:
        array = arrays.pop(value.name)
        made.graph.initializer.append(numpy_helper.from_array(array, value.name))
        made.graph.input.remove(value)
    return made


class _Reader(CalibrationDataReader):
    """Feeds the test's own inputs, once."""

    def __init__(self, inputs: dict[str, NDArray[Any]]) -> None:
        self._feeds = iter([inputs])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantizer gives advice about every model."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    onnxruntime.set_default_logger_severity(4)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ranges that are not finite
            yield
    finally:
        logging.disable(before)
        onnxruntime.set_default_logger_severity(2)


def quantized(case: Case, form: str) -> onnx.ModelProto:
    """Return the test as a model in a form of its own.

    Raises
    ------
    Exception
        Of the quantizer, which has no types for what it does not take.
    """
    return case.model if form == AS_GIVEN else _quantize(case, *FORMS[form])


def _quantize(case: Case, form: QuantFormat, kind: QuantType) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as directory, _quiet():
        path = Path(directory) / "quantized.onnx"
        copy = onnx.ModelProto()
        copy.CopyFrom(case.model)
        quantize_static(
            copy, path, _Reader(case.inputs), quant_format=form, activation_type=kind,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=sorted({node.op_type for node in copy.graph.node}),
            # Alone, what only moves data would stay in float.
            extra_options={"ForceQuantizeNoInputCheck": True},
        )
        return onnx.load(path)
