# SPDX-License-Identifier: Apache-2.0
"""LiteRT, of the extra `tflite`: its flatbuffer classes read the files, its kernels run them.

It is imported when it is first needed: who brings ONNX files does without.
"""

from importlib import import_module
from typing import Any

from kiwicha.errors import ModelError

__all__ = ["interpreter", "names_in", "schema"]


def schema() -> Any:
    """Return the module of the classes of a TFLite file, generated from its schema.

    Raises
    ------
    ModelError
        Where the extra is not installed; so does `interpreter`.
    """
    return _module("schema_py_generated")


def interpreter() -> Any:
    """Return the module with LiteRT's ``Interpreter`` and ``OpResolverType``."""
    return _module("interpreter")


def _module(name: str) -> Any:
    try:
        return import_module(f"ai_edge_litert.{name}")
    except ImportError:
        raise ModelError(
            "a .tflite model needs ai-edge-litert, which reads and judges it: "
            "pip install kiwicha[tflite]"
        ) from None


def names_in(enumeration: Any) -> dict[int, str]:
    """Return the names of an enumeration of the schema by value."""
    return {
        value: name for name, value in vars(enumeration).items()
        if isinstance(value, int) and not name.startswith("_")
    }
