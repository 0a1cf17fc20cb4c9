# SPDX-License-Identifier: Apache-2.0
"""Files that a command writes: checked before the work begins, whole or not there afterwards."""

import os
from collections.abc import Mapping
from pathlib import Path

from kiwicha.errors import KiwichaError
from kiwicha.sim.interrupt import uninterrupted

__all__ = ["DestinationError", "check_destinations", "check_folder", "write_file", "write_files"]


class DestinationError(KiwichaError):
    """A result cannot go where the user wants it."""


def check_destinations(
    files: Mapping[str, Path | None], suffixes: Mapping[str, tuple[str, ...]], read: list[Path]
) -> None:
    """Check that every file can be written; nothing is created.

    Parameters
    ----------
    files : by command line option; None where the option is not given.
    suffixes : what the name must end with, by option; any where the option is not in it.
    read : files that the command reads, and so must not overwrite.

    Raises
    ------
    DestinationError
        Naming the option, the file and what is wrong.
    """
    taken = {path.resolve(): "a file that is read" for path in read}
    for option, path in files.items():
        if path is None:
            continue
        legal = suffixes.get(option, ())
        if legal and path.suffix not in legal:
            raise DestinationError(f"{option} {path}: the name must end with {' or '.join(legal)}")
        if path.is_dir():
            raise DestinationError(f"{option} {path}: is a folder, not a file")
        if not path.parent.is_dir():
            raise DestinationError(f"{option} {path}: there is no folder '{path.parent}'")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise DestinationError(f"{option} {path}: no permission to write")
        place = path.resolve()
        if place in taken:
            raise DestinationError(f"{option} {path}: is also {taken[place]}")
        taken[place] = f"the file of {option}"


def check_folder(option: str, path: Path) -> None:
    """Check that a folder is there or can be made; raises DestinationError."""
    above = path.absolute()
    while not above.exists() and above != above.parent:
        above = above.parent
    if not above.is_dir():
        raise DestinationError(f"{option} {path}: '{above}' is a file, not a folder")
    if not os.access(above, os.W_OK):
        raise DestinationError(f"{option} {path}: no permission to write in '{above}'")


def write_file(path: Path, data: bytes) -> None:
    """Write a file so that it is either the old one or the new one, never half of it."""
    write_files({path: data})


def write_files(contents: Mapping[Path, bytes]) -> None:
    """Write files that belong together, and the folders that they lie in: all of them, or none.

    A signal waits until all are there. An error comes before the first is replaced.
    """
    asides: dict[Path, Path] = {}
    streams: dict[Path, bytes] = {}
    with uninterrupted():
        try:
            for path, data in contents.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                place = path.resolve()
                if place.exists() and not place.is_file():
                    streams[place] = data
                    continue
                asides[place] = place.with_name(f".{os.getpid()}-{place.name}")
                asides[place].write_bytes(data)
            for place, aside in asides.items():
                aside.replace(place)
        finally:
            for aside in asides.values():
                aside.unlink(missing_ok=True)
    # A device or a pipe is not replaced; it may let us wait, and a signal end that.
    for place, data in streams.items():
        place.write_bytes(data)
