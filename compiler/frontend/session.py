# SPDX-License-Identifier: Apache-2.0
"""Opens ONNX Runtime sessions, quietly, on the CPU, with errors of one line."""

import re
from collections.abc import Sequence
from pathlib import Path

import onnx
import onnxruntime

from kiwicha.compiler.frontend.weights import weights_apart
from kiwicha.errors import ModelError

__all__ = ["Settings", "open_session", "runtime_message"]

Settings = tuple[tuple[str, str], ...]
"""Session configuration: keys and values."""


def open_session(
    model: onnx.ModelProto,
    settings: Settings,
    *,
    optimized: bool = False,
    write: Path | None = None,
    without: Sequence[str] = (),
    profile: Path | None = None,
) -> onnxruntime.InferenceSession:
    """Open a model on the CPU, in one thread.

    Parameters
    ----------
    optimized : as ONNX Runtime runs it by default, with all its optimizations; else node by node
        as it is written.
    write : optimize to level EXTENDED, whose operators are documented, and write the result there,
        with files of large weights, of the model as given too, beside it.
    without : names of optimizations that are left out.
    profile : measure, to a file whose name begins so.

    Raises
    ------
    ModelError
        With what ONNX Runtime says (`runtime_message`).
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
        for key, value in (
            ("optimized_model_external_initializers_file_name", f"{write.stem}.weights"),
            ("optimized_model_external_initializers_min_size_in_bytes", str(1 << 16)),
            ("model_external_initializers_file_folder_path", str(write.parent)),
        ):
            options.add_session_config_entry(f"session.{key}", value)
        options.add_session_config_entry("session.disable_prepacking", "1")  # it never runs
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    for key, value in settings:
        options.add_session_config_entry(key, value)
    if write is None:
        given = model.SerializeToString()
    else:
        given = weights_apart(model, write.with_name("given.weights"))
    try:
        return onnxruntime.InferenceSession(
            given, options, providers=["CPUExecutionProvider"],
            disabled_optimizers=list(without),
            enable_fallback=0,  # falling back from CPU to CPU would only print
        )
    except Exception as error:  # its exception classes share no public base
        raise ModelError(f"ONNX Runtime refuses the model: {runtime_message(error)}") from None


_PREFIX = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : ")
_SOURCE = re.compile(  # a file, a line, the function there, and the condition that did not hold
    r"\S+\.(?:cc|cpp|h|hpp):\d+ [^()]*::[^()]*\((?:[^()]|\([^()]*\))*\)(?: const)?"
    r"(?: \[with [^\]]*\])? ?(?:.*? was false\. ?)?"
)
_RUNNING = re.compile(
    r"Non-zero status code returned while running (\S+) node\. Name:'(.*?)' Status Message: "
)
_CHECKING = re.compile(r'In Node, \("(.*?)", (\S+), .*?\) -> \(.*?\) , Error ')


def runtime_message(error: Exception) -> str:
    """Return what ONNX Runtime says in one line, without its error codes and its source."""
    text = _PREFIX.sub("", " ".join(str(error).split()))
    text = _SOURCE.sub("", text)
    text = _RUNNING.sub(lambda found: _node(found[2], found[1]), text)
    text = _CHECKING.sub(lambda found: _node(found[1], found[2]), text)
    return text.strip() or "an internal check failed"


def _node(name: str, operator: str) -> str:
    return f"'{name}' ({operator}): " if name else f"{operator}: "
