# SPDX-License-Identifier: Apache-2.0
"""The command ``kiwicha``: what it runs, and what becomes of errors.

Exit codes: 0 when every bit is right, 1 when one is wrong or a tool or the machine fails, 2 for
bad input, 130 after Ctrl-C (`cli.start` takes care of signals; in here, of KeyboardInterrupt).
"""

import os
import sys
from collections.abc import Sequence

from kiwicha.cli.options import Extension, UsageError, command_parser
from kiwicha.report.terminal import tolerate

__all__ = ["main"]


def _run(argv: Sequence[str] | None, extensions: Sequence[Extension]) -> int:
    args = command_parser(extensions).parse_args(argv)
    if hasattr(args, "run"):  # a command of an extension
        return int(args.run(args))
    # Imported here because ONNX Runtime and Amaranth would make even --help take a second.
    if args.command == "sim":
        from kiwicha.cli.simulate import run_sim

        return run_sim(args)
    if args.command == "compile":
        from kiwicha.cli.compile import run_compile

        return run_compile(args)
    if args.command == "ops":
        from kiwicha.cli.operators import run_ops

        return run_ops(args)
    if args.command == "train":
        from kiwicha.cli.train import run_train

        return run_train(args)
    if args.command == "diff":
        from kiwicha.cli.diff import run_diff

        return run_diff(args)
    from kiwicha.cli.hardware import run_presets, run_verilog

    return run_verilog(args) if args.command == "verilog" else run_presets()


def _failed(message: object, code: int) -> int:
    print(f"kiwicha: error: {message}", file=sys.stderr)
    return code


def main(argv: Sequence[str] | None = None, extensions: Sequence[Extension] = ()) -> int:
    """Run the command line ``argv`` (default: the process's own) and return the exit code.

    ``extensions`` add commands of packages that this one must not know.

    ``--help`` and ``--version`` raise SystemExit(0), as argparse does.
    """
    tolerate()
    try:
        return _run(argv, extensions)
    except UsageError as error:
        return _failed(error, 2)
    except KeyboardInterrupt:
        return _failed("interrupted", 130)
    except BrokenPipeError:  # the reader, say `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _failed(f"{where}{error.strerror or error}", 1)
    except Exception as error:
        # Their modules are expensive to import, and are loaded if one of their errors comes.
        from kiwicha.errors import KiwichaError
        from kiwicha.golden.machine import MachineError
        from kiwicha.sim.simulation import MachineStopped
        from kiwicha.sim.toolchain import SimulatorError

        if isinstance(error, KiwichaError):
            return _failed(error, 2)
        if isinstance(error, MachineError):
            return _failed(f"the golden machine refuses the program: {error}", 1)
        if isinstance(error, MachineStopped | SimulatorError):
            return _failed(error, 1)
        raise
