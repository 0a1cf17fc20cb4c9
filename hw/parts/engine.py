# SPDX-License-Identifier: Apache-2.0
"""The face that all engines show, by which the machine is put together without naming them."""

from collections.abc import Iterable, Mapping
from typing import Any

from amaranth.hdl import Const, Module, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from kiwicha.hw.parts.fault import FaultSignature
from kiwicha.machine.isa import ENGINES

__all__ = ["EngineSignature", "connect_by_name"]


class EngineSignature(wiring.Signature):
    """What control and memory port see of an engine, and the ports between engines.

    Parameters
    ----------
    instruction : layout of its instructions, from `machine.isa`.
    ports : what it gives to other engines and takes from them. A name means the same wires in the
        whole machine: one engine has them as outputs, any number of others as inputs.
    own : what the accelerator connects by itself: ``stop``, ``stepping``, the memory port.

    Members
    -------
    i : In(stream.Signature(instruction))
        Instructions whose tokens are taken.
    done : Out(stream.Signature(ENGINES, always_ready=True))
        The signal mask of each instruction, in order, when its last effect is visible.
    busy : Out(1)
        An instruction is taken and not done.
    error : Out(FaultSignature)
        Why the machine must stop.
    stop : In(1)
        Begin no further transfer in memory; only where an engine makes transfers.
    stepping : Out(1)
        Something moves, for the watchdog; only where nothing else shows that.
    """

    def __init__(
        self,
        instruction: data.StructLayout,
        ports: Mapping[str, wiring.Member],
        own: Mapping[str, wiring.Member],
    ) -> None:
        self.ports = tuple(ports)
        super().__init__({
            "i": In(stream.Signature(instruction)),
            "done": Out(stream.Signature(ENGINES, always_ready=True)),
            "busy": Out(1),
            "error": Out(FaultSignature),
            **own,
            **ports,
        })


def connect_by_name(m: Module, units: Iterable[tuple[Any, Iterable[str]]]) -> None:
    """Drive every input among the named ports of ``units`` by the output of the same name.

    Parameters
    ----------
    units : pairs of a component and its ports, plain ones or always-ready streams.

    Raises
    ------
    ValueError
        For two outputs of one name, and an input of which there is no output.
    """
    outputs: dict[tuple[str | int, ...], Value] = {}
    inputs: list[tuple[tuple[str | int, ...], Value]] = []
    for unit, names in units:
        for name in names:
            member = unit.signature.members[name]
            found = wiring.Signature({name: member}).flatten(unit)
            for path, leaf, value in found:
                if isinstance(value, Const):
                    continue  # `ready` of an always-ready stream
                if leaf.flow == In:
                    inputs.append((path, value))
                elif path in outputs:
                    raise ValueError(f"two units drive {'.'.join(map(str, path))}")
                else:
                    outputs[path] = value
    for path, value in inputs:
        if path not in outputs:
            raise ValueError(f"no unit drives {'.'.join(map(str, path))}")
        m.d.comb += value.eq(outputs[path])
