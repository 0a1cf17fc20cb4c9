# SPDX-License-Identifier: Apache-2.0
"""The drivers' registers, from the table that the hardware is made of.

``make registers`` writes them anew; with ``--check`` it only says whether they are what they were.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from kiwicha.hw.control.driver_views import to_driver_header, to_driver_module

__all__ = ["files", "main"]

_ROOT = Path(__file__).parents[2] / "drivers"


def files() -> dict[Path, str]:
    """Return what each file has to hold."""
    return {
        _ROOT / "c/kiwicha_registers.h": to_driver_header(),
        _ROOT / "registers.py": to_driver_module(),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Write the files, or with ``--check`` return 1 if they would change."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args(argv)
    stale = [
        path for path, text in files().items() if not path.exists() or path.read_text() != text
    ]
    for path in stale:
        print(f"{path}: {'is stale' if args.check else 'written'}")
        if not args.check:
            path.write_text(files()[path])
    return int(args.check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
