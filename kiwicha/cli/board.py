# SPDX-License-Identifier: Apache-2.0
"""The command ``kiwicha`` with ``kiwicha board``, which makes bitstreams."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kiwicha.boards.catalog import BOARDS, find_board
from kiwicha.cli import main as front

__all__ = ["add_board_command", "main", "run_board"]

_BOARD = """\
Makes the bitstream of a board: the machine, its memory and the serial link to a computer. Runs
Yosys and nextpnr, ten minutes or more; prints what is used and how fast it is. What does not fit
or is too slow is refused."""

_EPILOG = """\
examples:
  kiwicha board ulx3s-85f
  kiwicha board ulx3s-85f --clock 25 --out build/slow

The bitstream and report.json are put into build/boards/BOARD. docs/boards.md says how to load it.

exit code: 0 done, 1 a tool failed or the clock is too fast, 2 the machine does not fit the board"""


def add_board_command(commands: Any) -> None:
    """Add ``kiwicha board`` to the parser's commands."""
    board = commands.add_parser(
        "board", help="make the bitstream of a board", description=_BOARD, epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    board.add_argument("board", metavar="BOARD", choices=BOARDS, help=", ".join(BOARDS))
    machine = board.add_mutually_exclusive_group()
    machine.add_argument("--preset", metavar="NAME", help="a named machine (default: the board's)")
    machine.add_argument("--config", metavar="FILE.toml", type=Path, help="a machine in a file")
    board.add_argument("--clock", metavar="MHZ", type=int, help="default: the board's")
    board.add_argument(
        "--seed", metavar="N", type=int, default=1, help="of the placer (default: %(default)s)"
    )
    board.add_argument(
        "--allow-timing-fail", action="store_true",
        help="write the bitstream even if it is too slow for its clock",
    )
    board.add_argument(
        "--out", metavar="DIR", type=Path, help="folder for the results (build/boards/BOARD)"
    )
    board.set_defaults(run=run_board)


def run_board(args: argparse.Namespace) -> int:
    """Build a board and print what came of it.

    Raises
    ------
    KiwichaError
        For a machine that there is not, or that does not fit.
    """
    from kiwicha.boards.build import build_board
    from kiwicha.boards.toolchain import ToolError
    from kiwicha.cli.hardware import configuration
    from kiwicha.errors import KiwichaError

    board = find_board(args.board)
    config = configuration(args) if args.preset or args.config else board.machine

    def say(stage: str) -> None:
        print(f"{stage} ...", file=sys.stderr, flush=True)

    try:
        report = build_board(
            board, config, clock_mhz=args.clock, out=args.out, seed=args.seed,
            allow_timing_fail=args.allow_timing_fail, listener=say,
        )
    except ValueError as error:
        if isinstance(error, KiwichaError):
            raise
        raise KiwichaError(str(error)) from None
    except ToolError as error:
        print(f"kiwicha: error: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(f"kiwicha: error: {error}: run `make setup-fpga`", file=sys.stderr)
        return 1
    used = [(kind, *both) for kind, both in report.utilization.items() if both[0]]
    for kind, some, all_ in used:
        print(f"{kind:16} {some:7,} of {all_:7,} {some / all_:6.1%}")
    fmax = "unknown" if report.fmax_mhz is None else f"{report.fmax_mhz:.1f} MHz"
    print(f"clock: {report.clock_mhz} MHz asked for, {fmax} reached")
    folder = args.out or board.folder()
    print(f"{folder / report.bitstream} after {report.seconds:.0f} s")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``kiwicha`` with all its commands; see `cli.main.main`."""
    return front.main(argv, (add_board_command,))


if __name__ == "__main__":
    sys.exit(main())
