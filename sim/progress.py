# SPDX-License-Identifier: Apache-2.0
"""Shows what a command is busy with: a live line a stage on a terminal, plain lines elsewhere."""

import time
from types import TracebackType

import rich.progress
from rich.console import Console
from rich.text import Text

__all__ = ["Progress"]

_WIDTH = 36


class _Clock(rich.progress.ProgressColumn):
    """Seconds of the stage, and how far it is where that is known."""

    def render(self, task: rich.progress.Task) -> Text:
        seconds = task.finished_time if task.finished else task.elapsed
        text = f"{seconds or 0:6.1f} s"
        if task.total and not task.finished:
            text += f"  {task.percentage:3.0f} %"
            if task.time_remaining is not None:
                text += f", {task.time_remaining:.0f} s left"
        return Text(text)


class Progress:
    """Shows stages on stderr while the ``with`` block runs; called like `sim.prepare.Listener`.

    A stage lasts until the next begins. Calls may come from any thread, one at a time.
    """

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._live: rich.progress.Progress | None = None
        if console.is_terminal and not console.is_dumb_terminal:
            self._live = rich.progress.Progress(
                rich.progress.TextColumn("{task.description}", markup=False),
                rich.progress.BarColumn(24),
                _Clock(),
                console=console,
                refresh_per_second=5,
            )
        self._console = console
        self._started = time.monotonic()
        self._stage = ""
        self._task: rich.progress.TaskID | None = None

    def __enter__(self) -> "Progress":
        if self._live is not None:
            self._live.start()
        return self

    def __call__(self, stage: str, done: int, total: int) -> None:
        """``done`` of ``total`` units of ``stage``; a total of 0 means unknown."""
        new, self._stage = stage != self._stage, stage
        if self._live is None:
            if new:
                seconds = time.monotonic() - self._started
                line = f"{seconds:7.1f} s  {stage}"
                self._console.print(line, markup=False, highlight=False, soft_wrap=True)
            return
        if new:
            self._finish()
            self._task = self._live.add_task(f"{stage:{_WIDTH}}", total=total or None)
        if self._task is not None and total:
            # A full bar would stop the clock, and the stage is not over before the next begins.
            self._live.update(self._task, completed=min(done, total - 1), total=total)

    def _finish(self) -> None:
        if self._live is not None and self._task is not None:
            self._live.update(self._task, total=1, completed=1)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            if kind is None:
                self._finish()
            self._live.stop()
