# SPDX-License-Identifier: Apache-2.0
"""Drivers and monitors, on the cocotb side, for the stream ports of an Amaranth component.

A payload struct leaves Amaranth as one packed vector, so a driver takes the payload's shape and
packs and unpacks with it. Both sides check the stream rules at every clock edge.
"""

import gc
import random
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import cocotb
from amaranth.hdl import Const, Shape
from amaranth.lib import data
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, Event, FallingEdge, RisingEdge

from .bench import bench_inputs

__all__ = [
    "READY_POLICIES",
    "StreamSink",
    "StreamSource",
    "pack",
    "start_clock_and_reset",
    "unpack",
]

#: What a consumer may do with ``ready``; each finds faults that the others miss.
READY_POLICIES = ("always", "random", "bursty", "after_valid")

PERIOD_NS = 10
_ALLOCATIONS = 100_000  # from one search for garbage to the next


async def start_clock_and_reset(dut: Any, *, cycles: int = 2) -> None:
    """Drive every input to 0, start ``clk`` (10 ns) and hold ``rst`` for ``cycles`` edges.

    Returns just after a falling edge with ``rst`` low, so what the caller sets next is stable
    well before the first edge that counts.
    """
    # A search for garbage in cycles goes over all of Amaranth, and a bench makes hardly any.
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS)
    for name in bench_inputs():
        getattr(dut, name).value = 0
    if not hasattr(dut, "clk"):
        return
    dut.rst.value = 1
    Clock(dut.clk, PERIOD_NS, unit="ns").start()
    await ClockCycles(dut.clk, cycles)
    await FallingEdge(dut.clk)
    dut.rst.value = 0


def pack(shape: Any, value: Any) -> int:
    """Return ``value`` as the raw bits of ``shape``.

    ``shape`` is an Amaranth shape or ``None`` for raw bits; ``value`` an integer, or a mapping or
    sequence for a struct or an array.
    """
    if shape is None:
        return int(value)
    if isinstance(shape, data.Layout) and not isinstance(value, int):
        return int(shape.const(value).as_bits())
    width = Shape.cast(shape).width
    low = -(1 << (width - 1)) if Shape.cast(shape).signed else 0
    if not isinstance(shape, data.Layout) and not low <= int(value) < low + (1 << width):
        raise ValueError(f"value {value} does not fit in {Shape.cast(shape)}")
    return int(value) & ((1 << width) - 1)


def unpack(shape: Any, bits: int) -> Any:
    """Return raw ``bits`` as ``shape`` means them: an int, a dict (struct) or a list (array)."""
    if shape is None:
        return bits
    if isinstance(shape, data.ArrayLayout):
        return [unpack(field.shape, _slice(bits, field)) for _, field in shape]
    if isinstance(shape, data.Layout):
        return {str(key): unpack(field.shape, _slice(bits, field)) for key, field in shape}
    return Const(bits, Shape.cast(shape)).value


def _slice(bits: int, field: data.Field) -> int:
    return (bits >> field.offset) & ((1 << field.width) - 1)


class _Port:
    """The three signals of a stream port and the shape of its payload."""

    def __init__(self, dut: Any, name: str, shape: Any, clock: Any) -> None:
        self.name = name
        self.shape = data.StructLayout(shape) if isinstance(shape, Mapping) else shape
        self.clock = clock if clock is not None else dut.clk
        # An always-valid or always-ready stream has no such port; a payload of no bits neither.
        self.valid = getattr(dut, f"{name}__valid", None)
        self.ready = getattr(dut, f"{name}__ready", None)
        self.payload = getattr(dut, f"{name}__payload", None)
        if self.valid is None and self.ready is None and self.payload is None:
            raise AttributeError(f"no stream port {name!r} in the design")

    def _drive(self, signal: Any, value: int) -> None:
        if signal is not None:
            signal.value = value

    def _flag(self, signal: Any, what: str) -> bool:
        if signal is None:
            return True
        value = signal.value
        assert value.is_resolvable, f"{self.name}.{what} is {value}"
        return bool(value)


class StreamSource(_Port):
    """Sends words into the stream port ``name`` of ``dut``.

    ``await send(words)`` returns when all words are accepted; ``put(words)`` only queues them.
    ``sent`` counts accepted words. Payload lines hold noise while ``valid`` is low, so that a unit
    which looks at them is caught.

    Parameters
    ----------
    shape : the payload's Amaranth shape (``None``: raw integers).
    policy : when to offer a word: ``"always"``, ``"random"`` or ``"bursty"``.
    seed : seeds the pauses.
    """

    def __init__(
        self,
        dut: Any,
        name: str = "i",
        shape: Any = None,
        *,
        policy: str = "always",
        seed: int = 1,
        clock: Any = None,
    ) -> None:
        super().__init__(dut, name, shape, clock)
        self._pauses = _pattern(policy, _chooser(seed, name, "source"))
        self._noise = _chooser(seed, name, "noise")
        self._queue: deque[int] = deque()
        self._drained = Event()
        self.sent = 0
        self._drive(self.valid, 0)
        cocotb.start_soon(self._run())

    def put(self, words: Iterable[Any]) -> None:
        """Queue ``words`` (integers, or mappings and sequences as ``pack`` takes them)."""
        self._queue.extend(pack(self.shape, word) for word in words)
        self._drained.clear()

    async def send(self, words: Iterable[Any]) -> None:
        """Queue ``words`` and wait until the unit has taken every queued word."""
        self.put(words)
        if self._queue:
            await self._drained.wait()

    async def _run(self) -> None:
        width = 0 if self.payload is None else len(self.payload)
        while True:
            offer = bool(self._queue) and next(self._pauses)
            self._drive(self.valid, int(offer))
            if self.payload is not None:
                self.payload.value = self._queue[0] if offer else self._noise.getrandbits(width)
            taken = False
            while not taken:
                await RisingEdge(self.clock)
                taken = not offer or self._flag(self.ready, "ready")
            if offer:
                self._queue.popleft()
                self.sent += 1
                if not self._queue:
                    self._drained.set()


class StreamSink(_Port):
    """Takes words from the stream port ``name`` of ``dut`` and checks the stream rules.

    Rules checked at every edge: ``valid`` is known; the payload is known while valid; once valid,
    ``valid`` stays and the payload does not change until it is taken.

    ``await receive(n)`` returns the next n words, unpacked; ``words`` holds those not yet returned.

    Parameters
    ----------
    policy : one of ``READY_POLICIES``: ``ready`` always high; random; in long bursts; or raised
        only after ``valid`` was seen (a unit whose ``valid`` waits for ``ready`` hangs).
    """

    def __init__(
        self,
        dut: Any,
        name: str = "o",
        shape: Any = None,
        *,
        policy: str = "always",
        seed: int = 1,
        clock: Any = None,
    ) -> None:
        super().__init__(dut, name, shape, clock)
        self._after_valid = policy == "after_valid"
        chooser = _chooser(seed, name, "sink")
        self._readies = _pattern("random" if self._after_valid else policy, chooser)
        self._arrived = Event()
        self.words: deque[Any] = deque()
        self._drive(self.ready, 0)
        cocotb.start_soon(self._run())

    async def receive(self, count: int) -> list[Any]:
        """Return the next ``count`` words; waits for ever if the unit never sends them."""
        while len(self.words) < count:
            self._arrived.clear()
            await self._arrived.wait()
        return [self.words.popleft() for _ in range(count)]

    async def _run(self) -> None:
        waiting: int | None = None
        ready = False
        while True:
            ready = next(self._readies) and not (self._after_valid and waiting is None)
            ready |= self.ready is None
            self._drive(self.ready, int(ready))
            await RisingEdge(self.clock)
            valid = self._flag(self.valid, "valid")
            bits = self._bits() if valid else None
            if waiting is not None:
                assert valid, f"{self.name}.valid fell before the word was taken"
                assert bits == waiting, (
                    f"{self.name}.payload changed while waiting: {waiting:#x} -> {bits:#x}"
                )
            if bits is not None and ready:
                self.words.append(unpack(self.shape, bits))
                self._arrived.set()
            waiting = None if ready else bits

    def _bits(self) -> int:
        if self.payload is None:
            return 0
        value = self.payload.value
        assert value.is_resolvable, f"{self.name}.payload is {value} while valid"
        return value.to_unsigned()


def _chooser(seed: int, name: str, side: str) -> random.Random:
    return random.Random(f"{seed} {name} {side}")  # a stream of its own for every side


def _pattern(policy: str, chooser: random.Random) -> Any:
    if policy == "always":
        while True:
            yield True
    elif policy == "random":
        while True:
            yield chooser.random() < 0.5
    elif policy == "bursty":
        while True:
            for state in (True, False):
                for _ in range(chooser.randint(1, 12)):
                    yield state
    else:
        raise ValueError(f"policy is {policy!r}; legal: {', '.join(READY_POLICIES)}")
