# SPDX-License-Identifier: Apache-2.0
"""What a computer beside the machine needs: compiled programs and drivers, in Python and in C.

Nothing here imports the generator or the compiler; docs/programs.md and docs/drivers.md say all
that there is to know.
"""

from kiwicha.drivers.driver import Driver, DriverError, Port, Probe
from kiwicha.drivers.ports import UIO, DevMem, Pynq
from kiwicha.drivers.program import Program, load
from kiwicha.drivers.sequence import error_text

__all__ = [
    "UIO", "DevMem", "Driver", "DriverError", "Port", "Probe", "Program", "Pynq", "error_text",
    "load",
]
