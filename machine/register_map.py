# SPDX-License-Identifier: Apache-2.0
"""The one table of the machine's registers; hardware and every software view are made from it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import Engine
from kiwicha.machine.modes import RequantizeMode
from kiwicha.machine.optimizer import RATE_BITS

__all__ = [
    "ADDRESS_BITS", "IDENTITY", "RECORD_OFFSET", "VERSION", "Access", "Field", "Register",
    "RegisterMap",
]

ADDRESS_BITS = 12
"""The registers fill an aperture of 4 KiB."""
IDENTITY = int.from_bytes(b"KIWI", "big")
"""Reads 0x4B495749: what software looks for first."""
RECORD_OFFSET = 0x100
"""Where the record of the counters begins, of 64 bytes."""
VERSION = (2, 0)
"""Of the registers and the instructions: major (changes when old software breaks), minor."""

_WATCHDOG_RESET = 1 << 20
_REQUANTIZE_NUMBERS = {mode: number for number, mode in enumerate(RequantizeMode)}


class Access(Enum):
    """What software may do with a register."""

    READ = 0  #: writes are ignored (OKAY)
    WRITE = 1  #: read and write
    PULSE = 2  #: writing one does something once; reads 0
    CLEAR = 3  #: set by the machine, cleared by writing one


@dataclass(frozen=True)
class Field:
    """Bits of a register."""

    name: str
    low: int
    width: int
    description: str
    reset: int = 0


@dataclass(frozen=True)
class Register:
    """32 bits at a byte offset.

    ``constant`` registers never change; ``locked`` ones cannot be written while a program runs
    (SLVERR, and the write has no effect); ``counted`` ones lie in the record of the counters.
    """

    name: str
    offset: int
    access: Access
    description: str
    fields: tuple[Field, ...] = field(default=())
    constant: bool = False
    locked: bool = False
    counted: bool = False

    @property
    def reset(self) -> int:
        """Value after reset."""
        return sum(part.reset << part.low for part in self.fields)


class RegisterMap:
    """The registers of one machine; offsets and fields are those of every machine that has them.

    Parameters
    ----------
    cfg : fixes the identity and capability registers and the width of addresses.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self.registers: tuple[Register, ...] = tuple(_registers(cfg))
        taken: set[int] = set()
        for register in self.registers:
            bits = [b for part in register.fields for b in range(part.low, part.low + part.width)]
            if register.offset in taken or register.offset % 4 or register.offset >> ADDRESS_BITS:
                raise ValueError(f"{register.name}: offset {register.offset:#x} is not usable")
            if len(set(bits)) != len(bits) or not all(0 <= bit < 32 for bit in bits):
                raise ValueError(f"{register.name}: fields overlap or do not fit 32 bits")
            taken.add(register.offset)

    def __getitem__(self, name: str) -> Register:
        for register in self.registers:
            if register.name == name:
                return register
        raise KeyError(name)

    def __iter__(self) -> Iterator[Register]:
        return iter(self.registers)


def _word(name: str, offset: int, value: int, description: str) -> Register:
    """A register whose one field, ``value``, never changes."""
    part = Field("value", 0, 32, description, value)
    return Register(name, offset, Access.READ, description, (part,), constant=True)


def _packed(name: str, offset: int, description: str, *parts: Field) -> Register:
    return Register(name, offset, Access.READ, description, parts, constant=True)


def _count(name: str, offset: int, description: str) -> Register:
    part = Field("value", 0, 32, description)
    return Register(name, offset, Access.READ, description, (part,), counted=True)


def _address(
    name: str, offset: int, width: int, access: Access, description: str
) -> Iterator[Register]:
    """A low and a high register; bits beyond the machine's address width read 0."""
    for suffix, low, shift in (("low", 0, 0), ("high", 4, 32)):
        bits = min(32, max(0, width - shift))
        parts = (Field("value", 0, bits, f"bits {shift} up"),) if bits else ()
        yield Register(
            f"{name}_{suffix}",
            offset + low,
            access,
            f"{description}, {suffix} half",
            parts,
            locked=access is Access.WRITE,
        )


def _registers(cfg: AcceleratorConfig) -> Iterator[Register]:
    yield _word("identity", 0x000, IDENTITY, 'the letters "KIWI"')
    yield _packed(
        "version", 0x004, "of the registers and the instructions",
        Field("minor", 0, 16, "grows with what is added", VERSION[1]),
        Field("major", 16, 16, "changes when old software breaks", VERSION[0]),
    )
    yield _word(
        "fingerprint", 0x008, cfg.fingerprint,
        "hash of the configuration; a program names the one it was compiled for",
    )
    yield _packed(
        "array", 0x010, "the array and the requantizers",
        Field("rows", 0, 8, "array rows", cfg.rows),
        Field("columns", 8, 8, "array columns", cfg.columns),
        Field("requantize_lanes", 16, 8, "requantizers side by side", cfg.requantize_lanes),
        Field("requantize_mode", 24, 8,
              "rounding: " + ", ".join(f"{n} {m.value}" for m, n in _REQUANTIZE_NUMBERS.items()),
              _REQUANTIZE_NUMBERS[cfg.requantize_mode]),
    )
    yield _packed(
        "memory_port", 0x014, "the AXI4 master",
        Field("data_width", 0, 16, "bits of a beat", cfg.axi_data_width),
        Field("address_width", 16, 8, "bits of an address", cfg.axi_address_width),
        Field("outstanding", 24, 8, "read bursts in flight", cfg.axi_outstanding),
    )
    yield _packed(
        "bursts", 0x018, "bursts and instruction queues",
        Field("burst_beats", 0, 16, "longest burst in beats", cfg.axi_burst_beats),
        Field("queue_words", 16, 16, "64-bit words queued per engine", cfg.queue_words),
    )
    yield _word("activation_bytes", 0x01C, cfg.activation_bytes, "activation scratchpad, bytes")
    yield _word("weight_bytes", 0x020, cfg.weight_bytes, "weight scratchpad, bytes")
    yield _word("accumulator_depth", 0x024, cfg.accumulator_depth, "int32 entries a column")
    yield _word("output_bytes", 0x028, cfg.output_bytes, "output buffer, bytes")
    yield _word("parameter_channels", 0x02C, cfg.parameter_channels, "channels of parameters")

    yield Register("control", 0x040, Access.PULSE,
                   "commands; both read 0; in one write, start acts before abort", (
        Field("start", 0, 1, "run the program; ignored while one runs or is being stopped"),
        Field("abort", 1, 1, "stop the program that runs, or whose start is under way (with "
              "start: that one); ignored when there is none"),
    ))
    yield Register("status", 0x044, Access.READ, "what the machine does", (
        Field("idle", 0, 1, "nothing has run since reset", 1),
        Field("running", 1, 1, "a program runs, or its start is under way"),
        Field("draining", 2, 1, "stopped; open bus transactions are being finished"),
        Field("done", 3, 1, "the last program ran to its END"),
        Field("error", 4, 1, "the last program was stopped; error_code says why; "
              "together with draining: a bus that never answers, reset both"),
        *(Field(f"{engine.name.lower()}_busy", 8 + engine, 1, "instruction in flight")
          for engine in Engine if engine is not Engine.UPDATE),
        Field("fetch_busy", 13, 1, "program words are being read"),
        Field("memory_busy", 14, 1, "a bus transaction is open"),
        *((Field("update_busy", 15, 1, "instruction in flight"),) if cfg.update else ()),
    ))
    yield Register("error_code", 0x048, Access.READ, "why the last program was stopped", (
        Field("code", 0, 8, "0: it was not; the next start clears it"),
    ))
    yield from _address(
        "error_address", 0x050, 64, Access.READ, "where the error was, depending on its code"
    )
    yield from _address(
        "program_address", 0x058, cfg.axi_address_width, Access.WRITE,
        "byte address of the program, a multiple of the beat",
    )
    yield Register("program_length", 0x060, Access.WRITE, "bytes, a multiple of 8", (
        Field("value", 0, 32, "bytes"),
    ), locked=True)
    yield Register("interrupt_enable", 0x064, Access.WRITE, "which events raise the interrupt", (
        Field("done", 0, 1, "a program ran to its END"),
        Field("error", 1, 1, "a program was stopped"),
    ))
    yield Register("interrupt_status", 0x068, Access.CLEAR,
                   "which events happened; no start clears them", (
        Field("done", 0, 1, "a program ran to its END"),
        Field("error", 1, 1, "a program was stopped"),
    ))
    yield Register("watchdog", 0x06C, Access.WRITE, "cycles without progress; 0: any number", (
        Field("value", 0, 32, "cycles", _WATCHDOG_RESET),
    ), locked=True)
    for offset, name, description in (
        (0x070, "read_base", "first byte that the machine may read, in whole beats"),
        (0x078, "read_limit", "first byte that it may not read any more"),
        (0x080, "write_base", "first byte that the machine may write, in whole beats"),
        (0x088, "write_limit", "first byte that it may not write any more"),
    ):
        yield from _address(name, offset, cfg.axi_address_width, Access.WRITE, description)
    yield Register("scratch", 0x090, Access.WRITE, "for software", (
        Field("value", 0, 32, "anything"),
    ))
    if cfg.blocks.random:
        for offset, name, description in (
            (0x094, "random_seed", "of the random words that round blocks"),
            (0x098, "random_step", "training step, of the same"),
        ):
            parts = (Field("value", 0, 32, "any number"),)
            yield Register(name, offset, Access.WRITE, description, parts, locked=True)
    if cfg.update:
        yield Register("update_saturated", 0x09C, Access.READ,
                       "weights that saturated anywhere in an UPDATE since start", (
            Field("value", 0, 32, "weights"),
        ))
        yield Register("update_rate", 0x0A0, Access.WRITE,
                       "learning rate of each UPDATE that asks for it", (
            Field("factor", 0, 17, "c5, UQ1.16, at most 1"),
            Field("shift", 17, RATE_BITS - 17, "added to rate_shift, the sum 31 at most"),
        ), locked=True)

    if cfg.training:
        yield Register("sums_clamped", 0x0A4, Access.READ,
                       "sums on VECTOR's way out beyond their bounds since start: weights that an "
                       "in-place update took to a bound", (
            Field("value", 0, 32, "sums"),
        ))

    # From RECORD_OFFSET on: the record of hw/control/counters.py, word for word.
    yield _count("cycles_low", RECORD_OFFSET, "cycles since start, low half")
    yield _count("cycles_high", 0x104, "cycles since start, high half")
    yield _count("read_beats", 0x108, "beats read")
    yield _count("written_beats", 0x10C, "beats written")
    for engine in Engine:
        if engine is Engine.UPDATE:
            continue
        name, offset = engine.name.lower(), 0x110 + 8 * engine
        yield _count(f"{name}_busy", offset, "cycles with an instruction in flight")
        yield _count(f"{name}_stalled", offset + 4, "cycles waiting for a token")
    yield _count("steps", 0x138, "input vectors that entered the array")
    if cfg.update:
        yield _count("update_busy", 0x13C, "cycles with an UPDATE in flight")
