# SPDX-License-Identifier: Apache-2.0
"""Arrays for the graph inputs: from an npz file or random, checked before anything is built."""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.frontend.batch import batched_inputs
from kiwicha.compiler.frontend.source import Source
from kiwicha.compiler.graph.graph import Value
from kiwicha.errors import InputError

__all__ = ["check_inputs", "input_batch", "load_inputs", "random_inputs"]


def load_inputs(path: str | Path) -> dict[str, NDArray[Any]]:
    """Read an npz file.

    Raises
    ------
    InputError
        When it cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.lib.npyio.NpzFile):
                return {name: archive[name] for name in archive.files}
        raise InputError(f"{path}: one array; must be an npz archive with names")
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or 'not an npz file'}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError):
        raise InputError(f"{path}: not an npz file, or truncated") from None


def input_batch(model: Source, arrays: Mapping[str, NDArray[Any]]) -> int:
    """Return the batch to bind: the leading dimension of an input among ``arrays`` that has it."""
    batched = batched_inputs(model.graph)
    for name, array in arrays.items():
        if name in batched and array.ndim:
            return int(array.shape[0])
    return 1


def check_inputs(
    values: Sequence[Value], arrays: Mapping[str, NDArray[Any]], nan: bool = False
) -> None:
    """Check names, types, shapes and, unless ``nan``, that all are numbers; more arrays than inputs
    are an error.

    Raises
    ------
    InputError
        Naming the input, what was given and what is right.
    """
    names = ", ".join(value.name for value in values)
    if wrong := sorted(set(arrays) - {value.name for value in values}):
        raise InputError(f"no graph input is called '{wrong[0]}'; there is: {names}")
    for value in values:
        array = arrays.get(value.name)
        if array is None:
            raise InputError(f"input '{value.name}' is missing; needed: {names}")
        if array.dtype != value.dtype:
            raise InputError(f"input '{value.name}' is {array.dtype}; must be {value.dtype}")
        if array.shape != value.shape:
            raise InputError(f"input '{value.name}' is {array.shape}; must be {value.shape}")
        if not nan and value.dtype == np.float32 and np.isnan(array).any():
            raise InputError(f"input '{value.name}' holds NaN")


def random_inputs(values: Sequence[Value], seed: int = 0) -> dict[str, NDArray[Any]]:
    """Return reproducible inputs: standard normal floats, any integer codes."""
    generator = np.random.default_rng(seed)
    arrays: dict[str, NDArray[Any]] = {}
    for value in values:
        if value.dtype == np.float32:
            arrays[value.name] = generator.standard_normal(value.shape).astype(np.float32)
        else:
            info: Any = np.iinfo(value.dtype)
            drawn = generator.integers(info.min, info.max + 1, value.shape)
            arrays[value.name] = drawn.astype(value.dtype)
    return arrays
