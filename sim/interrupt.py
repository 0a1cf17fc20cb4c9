# SPDX-License-Identifier: Apache-2.0
"""What a signal does to a command: one line, no process left, nothing half written; at any moment.

A handler that raised KeyboardInterrupt would be swallowed where it happens to strike a destructor
or a library's import. This one undoes what is unfinished and ends the process itself.
"""

# Nothing expensive: a signal before `catch_signals` ends in a traceback.
import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["catch_signals", "ignore_signals", "undone_by_signal", "uninterrupted"]

_SIGNALS = {
    signal.SIGINT: b"interrupted", signal.SIGTERM: b"terminated", signal.SIGHUP: b"hung up",
}
_PR_SET_CHILD_SUBREAPER = 36

_unfinished: list[Path] = []
_blocks = 0  # of `uninterrupted`, one in another
_waiting: list[int] = []


def catch_signals() -> None:
    """Let Ctrl-C, SIGTERM and SIGHUP end this process with 128 + signal; ignored ones stay so."""
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)
    import ctypes

    # What a killed child leaves behind becomes our child, so that it is found.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def ignore_signals() -> None:
    """Let signals come too late: the work is done, and the exit code is known."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Put signals off until the block is over; for the milliseconds in which results appear."""
    global _blocks
    _blocks += 1
    try:
        yield
    finally:
        _blocks -= 1
        if _waiting and not _blocks:
            _end(_waiting[0])


@contextlib.contextmanager
def undone_by_signal(path: Path) -> Iterator[None]:
    """Have a file or folder, there already or not, removed if a signal comes during the block."""
    place = path.absolute()
    _unfinished.append(place)
    try:
        yield
    finally:
        _unfinished.remove(place)


def _end(number: int, _: Any = None) -> None:
    if _blocks:
        _waiting.append(number)
        return
    ignore_signals()
    _end_children()
    for path in _unfinished:
        _remove(path)
    # A live line of progress may have hidden the cursor.
    clear = b"\r\x1b[2K\x1b[?25h" if os.isatty(2) else b""
    with contextlib.suppress(OSError):
        os.write(2, clear + b"kiwicha: error: " + _SIGNALS[signal.Signals(number)] + b"\n")
    os._exit(128 + number)


def _end_children() -> None:
    """Kill every process that descends from this one."""
    with contextlib.suppress(ChildProcessError):  # there is none any more
        while True:
            for child in _children():
                os.kill(child, signal.SIGKILL)
            os.waitpid(-1, 0)


def _children() -> Iterator[int]:
    for process in Path("/proc").iterdir():
        # A process may be gone before its file is read. Its name, in brackets, may hold anything.
        with contextlib.suppress(OSError):
            if process.name.isdecimal():
                _, parent, *_ = (process / "stat").read_bytes().rpartition(b")")[2].split()
                if int(parent) == os.getpid():
                    yield int(process.name)


def _remove(path: Path) -> None:
    import shutil

    with contextlib.suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
