# SPDX-License-Identifier: Apache-2.0
"""The face of engines: what all of them have, and wires by the names of ports."""

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.sim import Simulator

from kiwicha.hw.accelerator import ENGINE_CLASSES, Accelerator
from kiwicha.hw.control.control import Control
from kiwicha.hw.parts.engine import EngineSignature, connect_by_name
from kiwicha.hw.parts.fault import FaultSignature
from kiwicha.machine.isa import ENGINES, INSTRUCTIONS, Engine, Opcode
from kiwicha.machine.presets import preset

EVERYTHING = preset("tiny").replace(
    special={"lanes": 2}, dynamic=True, statistics={"elements": 256},
    blocks={"channels": 8, "rounding": "lfsr"}, update={"lanes": 1},
)


class Unit(Component):
    """Nothing but ports."""

    def elaborate(self, platform):
        return Module()


def driven(*units):
    """A module in which the units, with all their ports, are connected."""
    m = Module()
    connect_by_name(m, [(unit, unit.signature.members) for unit in units])
    return m


@pytest.mark.parametrize("number", Engine)
def test_an_engine_has_the_face_of_its_instruction(number):
    engine = ENGINE_CLASSES[number](EVERYTHING)
    assert isinstance(engine.signature, EngineSignature)
    members = engine.signature.members
    assert members["i"] == In(stream.Signature(INSTRUCTIONS[Opcode[number.name]]))
    assert members["done"] == Out(stream.Signature(ENGINES, always_ready=True))
    assert members["busy"] == Out(1)
    assert members["error"] == Out(FaultSignature)
    assert set(engine.signature.ports) <= set(members)


@pytest.mark.parametrize("special", [0, 2])
def test_there_is_an_engine_for_each_that_control_knows(special):
    cfg = preset("tiny").replace(special={"lanes": special})
    assert (Engine.SPECIAL in Control(cfg).engines) == bool(special)
    assert list(ENGINE_CLASSES) == list(Engine)


def test_one_output_goes_to_all_inputs_of_its_name():
    stated = stream.Signature(4, always_ready=True)
    source = Unit({"write": Out(stated), "back": In(3)})
    takers = [Unit({"write": In(stated)}), Unit({"write": In(stated), "back": Out(3)})]
    m = driven(source, *takers)

    async def bench(ctx):
        ctx.set(source.write.payload, 9)
        ctx.set(source.write.valid, 1)
        ctx.set(takers[1].back, 5)
        for taker in takers:
            assert ctx.get(taker.write.payload) == 9
            assert ctx.get(taker.write.valid) == 1
        assert ctx.get(source.back) == 5

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()


def test_an_input_of_nobody_and_an_output_of_two_are_mistakes():
    with pytest.raises(ValueError, match=r"^no unit drives write$"):
        driven(Unit({"write": In(4)}), Unit({"right": Out(4)}))
    with pytest.raises(ValueError, match=r"^two units drive write\.\w+$"):
        driven(*(Unit({"write": Out(stream.Signature(4, always_ready=True))}) for _ in "ab"))


def test_no_machine_forgets_a_port(monkeypatch):
    Accelerator(EVERYTHING).elaborate(None)

    class Silent(ENGINE_CLASSES[Engine.LOAD]):
        """Does not tell of its port ``write``."""

        def __init__(self, cfg):
            super().__init__(cfg)
            self.signature.ports = ("weight_write",)

    monkeypatch.setitem(ENGINE_CLASSES, Engine.LOAD, Silent)
    with pytest.raises(ValueError, match=r"^no unit drives write\.\w+$"):
        Accelerator(EVERYTHING).elaborate(None)
