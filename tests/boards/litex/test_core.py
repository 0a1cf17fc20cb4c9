# SPDX-License-Identifier: Apache-2.0
"""The core in SoCs of LiteX: simulated with firmware, and on a board's target."""

import re
from pathlib import Path

import numpy as np
import pytest

import kiwicha
from kiwicha.bench.soc import NETWORKS_ON_SOC, run_network
from kiwicha.machine.presets import PRESETS
from kiwicha.sim.prepare import quiet
from kiwicha.sim.simulator import SimulatorError

from ...support.slow import slow

pytestmark = pytest.mark.litex

PLACES = {
    "litedram": {},
    "litedram-l2": {"l2_bytes": 8192},
    "bus-l2": {"direct": False, "l2_bytes": 8192},
}


@slow("litedram-l2", "bus-l2")
@pytest.mark.parametrize("place", PLACES)
def test_firmware_prints_what_onnx_runtime_computes(place):
    found = run_network(NETWORKS_ON_SOC["lenet5"], 2, quiet, **PLACES[place])
    assert (found["different"], found["elements"]) == (0, 20)
    results = re.findall(r"^result .*$", found["serial"], re.M)
    assert len(set(results)) == 2
    assert re.findall(r"^interrupts (\d+)$", found["serial"], re.M) == ["1", "2"]


def test_firmware_refuses_the_network_of_another_machine(tmp_path):
    from kiwicha.boards.litex.simulation import run_on_soc

    other = PRESETS["tiny"].replace(requantize_lanes=2)
    kiwicha.write_program("lenet5", tmp_path, other, samples=1, c_source=True)
    program = kiwicha.load(tmp_path)
    image = np.zeros(program.inputs[0].shape, np.float32)
    with pytest.raises(SimulatorError, match=r"lenet5\nerror: .*fingerprint") as caught:
        run_on_soc(program, PRESETS["tiny"], [{"image": image}])
    assert "sample" not in str(caught.value)


def _ulx3s():
    from litex_boards.targets.radiona_ulx3s import BaseSoC

    return BaseSoC("LFE5U-85F", sdram_module_cls="MT48LC16M16", integrated_rom_size=0x8000)


@pytest.mark.parametrize("direct", [True, False], ids=["litedram", "bus"])
def test_a_board_of_litex_boards_takes_the_core(direct, tmp_path):
    from kiwicha.boards.litex.core import add_kiwicha

    soc = _ulx3s()
    core = add_kiwicha(soc, "tiny", direct=direct, folder=tmp_path)
    soc.finalize()
    verilog = soc.platform.get_verilog(soc, name="ulx3s").main_source
    assert verilog.count("accelerator accelerator") == 1
    assert str(tmp_path / "accelerator.v") in [name for name, *_ in soc.platform.sources]
    assert "KIWICHA_FINGERPRINT_RESET" in (tmp_path / "registers.h").read_text()
    assert soc.bus.regions["kiwicha"].size == 4096
    assert not soc.bus.regions["kiwicha"].cached
    assert ("kiwicha" in soc.bus.masters) == (not direct)
    assert core.config is PRESETS["tiny"]


def test_two_machines_are_in_one_soc(tmp_path):
    from kiwicha.boards.litex.core import add_kiwicha

    soc = _ulx3s()
    add_kiwicha(soc, "tiny", folder=tmp_path / "first")
    other = PRESETS["tiny"].replace(name="other", requantize_lanes=2)
    add_kiwicha(soc, other, name="second", prefix="second", folder=tmp_path / "second")
    soc.finalize()
    verilog = soc.platform.get_verilog(soc, name="ulx3s").main_source
    assert re.findall(r"^(accelerator|second) \w+\(", verilog, re.M) == ["accelerator", "second"]
    files = [Path(name) for name, *_ in soc.platform.sources if Path(name).parents[1] == tmp_path]
    modules = [re.findall(r"^module (\S+)", path.read_text(), re.M) for path in files]
    assert len(modules) == 2
    assert not set(modules[0]) & set(modules[1])
    assert {soc.bus.regions[name].origin for name in ("kiwicha", "second")} == {
        0x80000000, 0x80001000,
    }
    assert soc.irq.locs["kiwicha"] != soc.irq.locs["second"]


def test_addresses_must_reach_the_memory():
    from kiwicha.boards.litex.core import KiwichaCore, add_kiwicha

    soc = _ulx3s()
    with pytest.raises(ValueError, match=r"^main_ram ends at 0x42000000; axi_address_width = 17 "):
        add_kiwicha(soc, "ulx3s-85f")
    with pytest.raises(ValueError, match=r"^axi_address_width is 40; LiteX has addresses of 32"):
        KiwichaCore(soc.platform, PRESETS["tiny"].replace(axi_address_width=40))
    with pytest.raises(ValueError, match=r"^unknown preset 'none'"):
        KiwichaCore(soc.platform, "none")
