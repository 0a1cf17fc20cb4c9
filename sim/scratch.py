# SPDX-License-Identifier: Apache-2.0
"""Folders that last as long as a block, and that a signal removes."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kiwicha.sim.interrupt import undone_by_signal

__all__ = ["scratch_folder", "temporary_files"]


@contextmanager
def scratch_folder(above: Path | None = None) -> Iterator[Path]:
    """Make a folder, in ``above`` or where temporary files go, for the block alone."""
    above = Path(tempfile.gettempdir()) if above is None else above
    above.mkdir(parents=True, exist_ok=True)
    # No mkdtemp: a signal must know the name before the folder is there.
    folder = (above / f"kiwicha-{os.getpid()}-{time.monotonic_ns()}").resolve()
    with undone_by_signal(folder):
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def temporary_files() -> Iterator[None]:
    """Have what this process makes by ``tempfile`` during the block removed by a signal, too."""
    with scratch_folder() as folder:
        before, tempfile.tempdir = tempfile.tempdir, str(folder)
        try:
            yield
        finally:
            tempfile.tempdir = before
