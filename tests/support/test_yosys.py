# SPDX-License-Identifier: Apache-2.0
"""Yosys in this process gives the Verilog that ships, and refuses what it refuses."""

import pytest

from kiwicha.hw.parts.queue import Queue
from kiwicha.hw.verilog import yosys
from kiwicha.hw.verilog.emit import emit_rtlil

from .yosys import rtlil_to_verilog


def test_the_same_bytes_every_time():
    texts = [emit_rtlil(Queue(8, depth)) for depth in (2, 64)]
    shipped = [yosys.rtlil_to_verilog(text) for text in texts]
    assert [rtlil_to_verilog(text) for text in texts] == shipped
    assert [rtlil_to_verilog(text) for text in texts] == shipped


def test_refuses_the_same():
    with pytest.raises(yosys.YosysError) as shipped:
        yosys.rtlil_to_verilog("module oops")
    with pytest.raises(yosys.YosysError) as here:
        rtlil_to_verilog("module oops")
    assert str(here.value) == str(shipped.value) != ""
