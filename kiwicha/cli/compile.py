# SPDX-License-Identifier: Apache-2.0
"""The command ``kiwicha compile``: a model's program as files that a driver reads."""

import argparse
import json

from kiwicha.api.compiled import write_program
from kiwicha.api.model import load_model
from kiwicha.cli.hardware import machine, print_additions
from kiwicha.report.terminal import output_console
from kiwicha.sim.export import FILES
from kiwicha.sim.export_c import C_FILES
from kiwicha.sim.files import DestinationError, check_folder
from kiwicha.sim.progress import Progress
from kiwicha.sim.shipped import find_model

__all__ = ["run_compile"]


def run_compile(args: argparse.Namespace) -> int:
    """Write the files of a program and print their names; returns 0.

    Raises
    ------
    KiwichaError
        For a model that does not fit the machine, or a folder that cannot be written.
    """
    config = machine(args)
    check_folder("--out", args.out)
    read = find_model(args.model).path.resolve()
    if read in [(args.out / name).resolve() for name in (*FILES, *C_FILES)]:
        raise DestinationError(f"--out {args.out}: holds the model, which would be overwritten")
    with Progress() as progress:
        files = write_program(
            load_model(args.model, dict(args.dim)), args.out, config, samples=args.samples,
            host_fallback=args.host_fallback, c_source=args.c, progress=progress,
        )
    manifest, console = json.loads(files[0].read_text()), output_console()
    if config is None:
        print_additions(manifest["machine"]["config"], console)
    for path in files:
        print(path)
    return 0
