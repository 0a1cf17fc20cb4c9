# SPDX-License-Identifier: Apache-2.0
"""Where what is built and cached goes; never to the working directory.

Builds (generated Verilog, simulators, the files of a run) go to the first of these folders that can
be written and has no space in its path, which make refuses:

1. ``build`` of the checkout, if the package is imported from one: the folder that it lies in has a
   ``pyproject.toml`` of the project kiwicha. An editable installation is one, too.
2. ``kiwicha`` in the user's cache folder: ``$XDG_CACHE_HOME`` or ``~/.cache``.
3. ``kiwicha`` in a folder for this user alone in that for temporary files.

The tools that compile themselves before their first use (YoWASP's) keep the result in folders of
their own beside the second or third.
"""

import os
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import platformdirs

__all__ = ["build_folder", "checkout", "user_cache"]

_NAME = "kiwicha"


@cache
def checkout() -> Path | None:
    """Return the folder of the checkout that the package is imported from; None if installed."""
    folder = Path(__file__).absolute().parents[1]
    try:
        with (folder / "pyproject.toml").open("rb") as file:
            name = tomllib.load(file)["project"]["name"]
    except (OSError, ValueError, LookupError, TypeError):  # none, not TOML, or none of Python's
        return None
    return folder if name == _NAME else None


def build_folder() -> Path:
    """Return the folder for what is built and kept; see above. It is there.

    Raises
    ------
    OSError
        When no folder can be written.
    """
    usable = []
    for folder in _build_folders():
        if len(str(folder.resolve()).split()) == 1:
            return folder
        usable.append(folder)
    return usable[0] if usable else _temporary() / _NAME


def user_cache() -> Path:
    """Return a folder for what is expensive to make again, with subfolders by program. It is there.

    The user's cache folder; where that cannot be written, one for this user in the system's folder
    for temporary files.

    Raises
    ------
    OSError
        When neither can be.
    """
    return _own_cache() or _temporary()


def _build_folders() -> Iterator[Path]:
    """Yield the folders that can be written, the best first."""
    if (above := checkout()) and _writable(above / "build"):
        yield above / "build"
    if (above := _own_cache()) and _writable(above / _NAME):
        yield above / _NAME
    if _writable(folder := _temporary() / _NAME):
        yield folder


def _writable(folder: Path) -> bool:
    """Make a folder if it is not there; say whether it can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return os.access(folder, os.W_OK | os.X_OK)
    except OSError:  # read-only, not a folder, or no permission
        return False


def _own_cache() -> Path | None:
    try:
        folder = platformdirs.user_cache_path()
    except RuntimeError:  # nobody knows of a home
        return None
    return folder if _writable(folder) else None


def _temporary() -> Path:
    folder = Path(os.environ.get("TMPDIR") or "/tmp", f"kiwicha-cache-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    there = folder.lstat()
    if folder.is_symlink() or there.st_uid != os.getuid() or there.st_mode & 0o022:
        raise PermissionError(1, "is not this user's alone", str(folder))
    return folder
