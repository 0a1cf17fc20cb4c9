# SPDX-License-Identifier: Apache-2.0
"""Opens ONNX Runtime sessions, quietly, on the CPU, with errors of one line."""

from pathlib import Path

import onnx
import onnxruntime

from compiler.errors import ModelError, first_line

__all__ = ["Settings", "open_session", "runtime_message"]

Settings = tuple[tuple[str, str], ...]
"""Session configuration: keys and values."""


def open_session(
    model: onnx.ModelProto,
    settings: Settings,
    *,
    optimized: bool = False,
    write: Path | None = None,
) -> onnxruntime.InferenceSession:
    """Open a model on the CPU, in one thread.

    Parameters
    ----------
    optimized : as ONNX Runtime runs it by default, with all its optimizations; else node by node
        as it is written.
    write : optimize to level EXTENDED, whose operators are documented, and write the result there.

    Raises
    ------
    ModelError
        With the first line of what ONNX Runtime says.
    """
    levels = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = levels.ORT_DISABLE_ALL
    if optimized:
        options.graph_optimization_level = levels.ORT_ENABLE_ALL
    if write is not None:
        options.graph_optimization_level = levels.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(write)
    for key, value in settings:
        options.add_session_config_entry(key, value)
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"],
            enable_fallback=0,  # falling back from CPU to CPU would only print
        )  # fmt: skip
    except Exception as error:  # its exception classes share no public base
        raise ModelError(f"ONNX Runtime refuses the model: {runtime_message(error)}") from None


def runtime_message(error: Exception) -> str:
    """Return the first line of an ONNX Runtime error without its code."""
    return first_line(error).split(" : ", 3)[-1]
