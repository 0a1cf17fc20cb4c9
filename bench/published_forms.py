# SPDX-License-Identifier: Apache-2.0
"""What a published float network needs before it is an int8 one: fixed shapes, and a form."""

import logging
import tempfile
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import version_converter
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process

from kiwicha.models.quantize import DEFAULT, Form, quantize

__all__ = ["FORMS", "Unusable", "fixed", "in_form", "is_network", "is_quantized"]

FORMS = ("QDQ", "QOperator", "dynamic")
Feeds = dict[str, NDArray[Any]]

_LENGTHS = (64, 48, 32, 16, 96, 128, 224, 512, 576, 640, 1280, 8, 4, 1)
"""Of an open dimension, in the order in which they are tried."""
_TYPES: dict[str, Any] = {
    "tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8,
}
_RATE = 16_000  #: of sound, in samples a second: what integer scalars of published networks are
_VERSION = 17  #: of the operators: from here on ONNX Runtime sees a LayerNormalization in its parts
_INTEGER = ("QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "MatMulInteger")


def is_network(model: onnx.ModelProto) -> bool:
    """Whether it has none of the operators of classical machine learning, such as trees."""
    return all(node.domain != "ai.onnx.ml" for node in model.graph.node)


class Unusable(ValueError):
    """A network that ONNX Runtime cannot run at any size, or its quantizer not quantize."""


def is_quantized(model: onnx.ModelProto) -> bool:
    """Whether there is any quantized operator."""
    return any(node.op_type in _INTEGER for node in model.graph.node)


def fixed(model: onnx.ModelProto) -> tuple[onnx.ModelProto, Feeds]:
    """Return the model with the first lengths that ONNX Runtime can run, and random inputs."""
    session = _session(model)
    said = ""
    for length in _LENGTHS:
        for channels in (3, 1):
            feeds = _feeds(session, length, channels, np.random.default_rng(0))
            try:
                session.run(None, feeds)
            except Exception as error:  # of no common base
                said = said or " ".join(str(error).split())
                continue
            return _with_shapes(model, feeds), feeds
    raise Unusable(said)


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # of no common base
        raise Unusable(" ".join(str(error).split())) from None


def _feeds(
    session: onnxruntime.InferenceSession, length: int, channels: int, rng: np.random.Generator
) -> Feeds:
    found: Feeds = {}
    batch = {each.shape[0] for each in session.get_inputs() if len(each.shape) > 1}
    for given in session.get_inputs():
        if given.type not in _TYPES:
            raise Unusable(f"input '{given.name}' is {given.type}")
        shape = list(given.shape)
        for axis, size in enumerate(shape):
            if not isinstance(size, int) or size < 1:
                image = len(shape) == 4 and axis == 1
                one = (axis == 0 and len(shape) > 1) or (size is not None and size in batch)
                shape[axis] = 1 if one else channels if image else length
        dtype = _TYPES[given.type]
        value: NDArray[Any]
        if dtype == np.float32:
            value = rng.normal(scale=0.5, size=shape)
        elif shape:
            value = rng.integers(0, 2, size=shape)
        else:
            value = np.array(_RATE if dtype in (np.int32, np.int64) else 1)
        found[given.name] = value.astype(dtype)
    return found


def _with_shapes(model: onnx.ModelProto, feeds: Feeds) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.value_info[:]
    for value in made.graph.input:
        if value.name in feeds:
            del value.type.tensor_type.shape.dim[:]
            for size in feeds[value.name].shape:
                value.type.tensor_type.shape.dim.add().dim_value = size
    for value in made.graph.output:
        value.type.tensor_type.ClearField("shape")
    return made


def in_form(model: onnx.ModelProto, form: str, feeds: Feeds) -> onnx.ModelProto:
    """Return a float model as ONNX Runtime's quantizer writes it.

    Raises
    ------
    Unusable
        With what the quantizer says.
    """
    logging.disable(logging.ERROR)
    try:
        ready = _prepared(model)
        if not {node.op_type for node in ready.graph.node} & {"Conv", "Gemm", "LSTM", "MatMul"}:
            raise Unusable("its layers are in branches, where the quantizer looks for none")
        if form == "dynamic":
            return _dynamic(ready)
        given = {value.name for value in ready.graph.input}
        rng = np.random.default_rng(1)
        samples: dict[str, Any] = {
            name: [_another(value, rng) for _ in range(3)]
            for name, value in feeds.items() if name in given
        }
        return quantize(ready, DEFAULT if form == "QDQ" else Form(format="qoperator"), samples)
    except Unusable:
        raise
    except Exception as error:  # of no common base
        where = traceback.extract_tb(error.__traceback__)[-1].name
        said = f"{type(error).__name__} in {where}: {' '.join(str(error).split())}"
        raise Unusable(f"ONNX Runtime's quantizer breaks: {said}") from None
    finally:
        logging.disable(logging.NOTSET)


def _another(value: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    if value.dtype != np.float32:
        return value
    return rng.normal(scale=0.5, size=value.shape).astype(np.float32)


def _prepared(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model as the quantizer's own preprocessing leaves it."""
    version = next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    if version < _VERSION:
        with suppress(RuntimeError):  # there is no converter for every operator
            model = version_converter.convert_version(model, _VERSION)
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        onnx.save(model, before)
        quant_pre_process(str(before), str(after), skip_symbolic_shape=True)
        return onnx.load(after)


def _dynamic(model: onnx.ModelProto) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        onnx.save(model, before)
        quantize_dynamic(before, after, weight_type=QuantType.QInt8)
        return onnx.load(after)
