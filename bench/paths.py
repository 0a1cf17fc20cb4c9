# SPDX-License-Identifier: Apache-2.0
"""The slowest paths of a placed and routed design, from the delays that nextpnr writes as SDF.

nextpnr reports one path a clock. Static timing analysis over the same delays (Standard Delay
Format, IEEE 1497) gives as many as one likes; `tests/bench/test_fpga.py` compares the slowest.
"""

import re
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from kiwicha.boards.toolchain import CriticalPath, Place

__all__ = ["slowest_paths"]

_TRIPLE = r"\((?:[\d.]+):(?:[\d.]+):([\d.]+)\)"  # least, typical, most
_INSTANCE = re.compile(r"\(INSTANCE (\S+)\)")
_WIRE = re.compile(rf"\(INTERCONNECT (\S+)/(\S+) (\S+)/(\S+) {_TRIPLE} {_TRIPLE}\)")
_LOGIC = re.compile(rf"\(IOPATH (\S+) (\S+) {_TRIPLE} {_TRIPLE}\)")
_SETUP = re.compile(rf"\(SETUPHOLD \(\w+ (\S+)\) \(posedge (\S+)\) {_TRIPLE} {_TRIPLE}\)")
_PICOSECONDS = 1000


@dataclass
class _Delays:
    """What an SDF file says, times in picoseconds.

    Members
    -------
    wires : pin -> the pins that it drives, and how long that takes.
    logic : pin -> the outputs of its cell that follow it.
    setup : pin of a register -> the time before the clock at which it has to be stable.
    clocks : clock pins of registers.
    """

    wires: dict[Place, list[tuple[Place, float]]] = field(default_factory=lambda: defaultdict(list))
    logic: dict[Place, list[tuple[Place, float]]] = field(default_factory=lambda: defaultdict(list))
    setup: dict[Place, float] = field(default_factory=dict)
    clocks: set[Place] = field(default_factory=set)


def _read(text: str) -> _Delays:
    found, cell = _Delays(), ""
    for line in text.replace("\\", "").splitlines():
        if wire := _WIRE.search(line):
            first, last = Place(wire[1], wire[2]), Place(wire[3], wire[4])
            found.wires[first].append((last, max(float(wire[5]), float(wire[6]))))
        elif logic := _LOGIC.search(line):
            delay = max(float(logic[3]), float(logic[4]))
            found.logic[Place(cell, logic[1])].append((Place(cell, logic[2]), delay))
        elif setup := _SETUP.search(line):
            pin = Place(cell, setup[1])
            found.setup[pin] = max(found.setup.get(pin, 0.0), float(setup[3]))
            found.clocks.add(Place(cell, setup[2]))
        elif instance := _INSTANCE.search(line):
            cell = instance[1]
    return found


def slowest_paths(
    text: str, count: int, *, clock: str = "clk", name: Callable[[str], str] = str
) -> list[CriticalPath]:
    """Return the slowest paths between registers, the slowest first.

    Parameters
    ----------
    text : an SDF file of a design with one clock, without loops.
    count : how many at the most.
    clock : its name.
    name : name of a register's cell; of paths between registers of the same names, as those of the
        bits of two words are, the slowest is returned.

    Raises
    ------
    ValueError
        For a design with a combinational loop, and for text without a single delay.
    """
    delays = _read(text)
    if not delays.wires:
        raise ValueError("no delays: this is no SDF file of nextpnr's")
    edges: dict[Place, list[tuple[Place, float]]] = defaultdict(list)
    for pin, after in (*delays.logic.items(), *delays.wires.items()):
        if pin not in delays.clocks:
            edges[pin] += after
    launched = {
        output: (delay, Place("", ""))
        for pin in delays.clocks
        for output, delay in delays.logic.get(pin, [])
    }
    arrivals = _arrivals(edges, launched)
    ends = sorted(
        ((arrivals[pin][0] + setup, pin) for pin, setup in delays.setup.items() if pin in arrivals),
        key=lambda end: (-end[0], end[1].cell, end[1].port),
    )
    paths: dict[tuple[str, str], CriticalPath] = {}
    for delay, pin in ends:
        if len(paths) == count:
            break
        path = _traced(arrivals, delays, pin, delay, f"posedge {clock}")
        paths.setdefault((name(path.first.cell), name(path.last.cell)), path)
    return list(paths.values())


def _arrivals(
    edges: dict[Place, list[tuple[Place, float]]], launched: dict[Place, tuple[float, Place]]
) -> dict[Place, tuple[float, Place]]:
    """Return when the last change arrives at each pin that registers reach, and where from."""
    waiting: dict[Place, int] = defaultdict(int)
    reached, work = set(launched), deque(launched)
    while work:
        for following, _ in edges.get(work.popleft(), []):
            waiting[following] += 1
            if following not in reached:
                reached.add(following)
                work.append(following)
    arrivals, work = dict(launched), deque(pin for pin in launched if not waiting[pin])
    settled = 0
    while work:
        pin = work.popleft()
        settled += 1
        for following, delay in edges.get(pin, []):
            arrival = arrivals[pin][0] + delay
            if following not in arrivals or arrival > arrivals[following][0]:
                arrivals[following] = (arrival, pin)
            waiting[following] -= 1
            if not waiting[following]:
                work.append(following)
    if settled < len(reached):
        looped = min(pin.cell for pin in reached if waiting[pin])
        raise ValueError(f"there is a combinational loop before {looped}")
    return arrivals


def _traced(
    arrivals: dict[Place, tuple[float, Place]], delays: _Delays, last: Place, delay: float,
    edge: str,
) -> CriticalPath:
    """Return the path that arrives last at the pin of a register."""
    pins = [last]
    while arrivals[pins[-1]][1].cell:
        pins.append(arrivals[pins[-1]][1])
    pins.reverse()
    wires = sum(
        arrivals[after][0] - arrivals[pin][0]
        for pin, after in zip(pins, pins[1:], strict=False)
        if pin in delays.wires and any(after == end for end, _ in delays.wires[pin])
    )
    return CriticalPath(
        edge, edge, pins[0], last, delay / _PICOSECONDS, wires / _PICOSECONDS,
        tuple(dict.fromkeys(pin.cell for pin in pins)),
    )
