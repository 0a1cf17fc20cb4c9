# SPDX-License-Identifier: Apache-2.0
"""Post-training quantization: every form that ``onnxruntime.quantization.quantize_static`` writes.

A form is data; `FORMS` is the whole sweep that the compiler has to read.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

__all__ = ["DEFAULT", "FORMS", "Form", "quantize", "quantize_by_range"]

_FORMATS = {"qdq": QuantFormat.QDQ, "qoperator": QuantFormat.QOperator}
_TYPES = {"u8": QuantType.QUInt8, "s8": QuantType.QInt8}


@dataclass(frozen=True, kw_only=True)
class Form:
    """One way of writing a quantized model.

    The default is uint8 activations (after a ReLU the whole range 0..255 is used, zero point 0)
    and symmetric int8 weights with a scale per output channel: what ONNX Runtime's own
    configurations for x86 CPUs use. S8S8 QDQ gives the same result bits.

    Parameters
    ----------
    format : "qdq" or "qoperator"
    activations, weights : "u8" or "s8"; s8 activations with u8 weights have no kernel
    per_channel : weight scales per output channel rather than per tensor
    symmetric_activations : zero point 0 (s8) or 128 (u8); ReLU and Clip then stay in the graph
    symmetric_weights : zero point 0 (s8) or 128 (u8)
    views : views of a float input are quantized too, and so what reads them: the input of a
        recurrent layer, which the quantizer would leave in float
    """

    format: str = "qdq"
    activations: str = "u8"
    weights: str = "s8"
    per_channel: bool = True
    symmetric_activations: bool = False
    symmetric_weights: bool = True
    views: bool = False

    def __post_init__(self) -> None:
        for field, legal in (("format", _FORMATS), ("activations", _TYPES), ("weights", _TYPES)):
            if getattr(self, field) not in legal:
                raise ValueError(f"{field}={getattr(self, field)!r}: one of {', '.join(legal)}")
        if (self.activations, self.weights) == ("s8", "u8"):
            raise ValueError("weights='u8': only 's8' with activations='s8'")

    @property
    def name(self) -> str:
        """Readable identifier, for test ids: ``qdq-u8s8-channel-asyma-symw``."""
        return "-".join((
            self.format,
            self.activations + self.weights,
            "channel" if self.per_channel else "tensor",
            "syma" if self.symmetric_activations else "asyma",
            "symw" if self.symmetric_weights else "asymw",
        ))


DEFAULT = Form()

#: all 48 forms by name
FORMS: dict[str, Form] = {
    form.name: form
    for form in (
        Form(format=f, activations=a, weights=w, per_channel=c,
             symmetric_activations=sa, symmetric_weights=sw)
        for f, (a, w), c, sa, sw in product(
            _FORMATS, (("u8", "s8"), ("s8", "s8"), ("u8", "u8")),
            (False, True), (False, True), (True, False),
        )
    )
}


class _Reader(CalibrationDataReader):
    """Feeds calibration inputs one by one."""

    def __init__(self, samples: Mapping[str, NDArray[np.float32]]) -> None:
        rows = zip(*samples.values(), strict=True)
        feeds = [dict(zip(samples, row, strict=True)) for row in rows]
        self._feeds: Iterator[dict[str, Any]] = iter(feeds)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantizer logs advice about shape inference for every model; none of it applies here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def quantize(
    model: onnx.ModelProto, form: Form, samples: NDArray[np.float32] | Mapping[str, NDArray[Any]]
) -> onnx.ModelProto:
    """Quantize a float model, calibrated (min-max) on ``samples``.

    Parameters
    ----------
    model : float32 model; left unchanged
    form : how to write the result
    samples : K x the input's shape (batch included); by name where there are several inputs
    """
    if not isinstance(samples, Mapping):
        samples = {model.graph.input[0].name: samples}
    with tempfile.TemporaryDirectory() as directory, _quiet():
        path = Path(directory) / "quantized.onnx"
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        quantize_static(
            copy, path, _Reader(samples),
            quant_format=_FORMATS[form.format],
            activation_type=_TYPES[form.activations],
            weight_type=_TYPES[form.weights],
            per_channel=form.per_channel,
            extra_options={
                "ActivationSymmetric": form.symmetric_activations,
                "WeightSymmetric": form.symmetric_weights,
                "ForceQuantizeNoInputCheck": form.views,
            },
        )
        return onnx.load(path)


def quantize_by_range(model: onnx.ModelProto) -> onnx.ModelProto:
    """Quantize a float model with ``quantize_dynamic``: uint8 weights, and activations whose scales
    follow from the values of each run."""
    with tempfile.TemporaryDirectory() as directory, _quiet():
        given, path = Path(directory) / "float.onnx", Path(directory) / "quantized.onnx"
        onnx.save(model, given)
        quantize_dynamic(given, path, weight_type=QuantType.QUInt8)
        return onnx.load(path)
