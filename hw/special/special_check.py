# SPDX-License-Identifier: Apache-2.0
"""What a SPECIAL instruction asks for: checked, and shared out over the lanes."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from kiwicha.hw.parts.fault import FaultSignature
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.fixed_pairs import PLACE_BITS
from kiwicha.machine.isa import ENGINES, SLOTS, SPECIAL, Engine, ErrorCode, SpecialOperation

__all__ = ["REPEATS", "SpecialCheck", "count_bits", "is_measured", "special_job", "takes_pairs"]

REPEATS = ("x_row", "x_byte", "z_row", "z_byte")
"""Fields by which an operand of ADD and MUL is met again; CROSS_ENTROPY has the last one set."""


def count_bits(cfg: AcceleratorConfig) -> int:
    """Return the bits of a number of rows or of bytes a row, as they fit into a memory."""
    return min(16, exact_log2(cfg.special.bytes) + 1)


def special_job(cfg: AcceleratorConfig) -> data.StructLayout:
    """Return a legal instruction: each lane's rows, and where they are.

    Rows 0 to ``rows`` - 1 of every lane lie densely from ``x`` and ``z`` on, or as much of them as
    `REPEATS` leave, their ``results`` bytes from ``y`` on; ``z`` is what the operation says it is.
    A lane in ``full`` has all of them, the one in ``edge`` the first ``edge_rows``, the others
    none; lane 0 always has all. ``multiplier`` is that of sums and products in fixed point,
    ``slot`` that of logits.
    """
    place = range(cfg.special.bytes)
    counts = unsigned(count_bits(cfg))
    return data.StructLayout({
        "operation": range(len(SpecialOperation)),
        "x_signed": 1,
        "z_signed": 1,
        "x_row": 1,
        "x_byte": 1,
        "z_row": 1,
        "z_byte": 1,
        "uncentred": 1,
        "table": range(cfg.special.entries // 256),
        "rows": counts,
        "length": counts,
        "x": place,
        "z": 32,
        "y": place,
        "results": range(cfg.special.bytes + 1),
        "full": cfg.special.lanes,
        "edge": cfg.special.lanes,
        "edge_rows": counts,
        "zero_point": signed(9),
        "low": signed(9),
        "high": signed(9),
        "shift": signed(8),
        "x_zero": signed(8),
        "signal": ENGINES,
        **({"multiplier": 31} if cfg.fixed_pairs else {}),
        **({"slot": range(SLOTS)} if cfg.training else {}),
    })


def is_measured(operation: Value) -> Value:
    """Return whether every row is looked at before it is computed."""
    return (operation == SpecialOperation.SOFTMAX) | (operation == SpecialOperation.NORMALIZE)


def takes_pairs(operation: Value) -> Value:
    """Return whether an element has two operands, at ``x`` and ``z``."""
    return (operation == SpecialOperation.ADD) | (operation == SpecialOperation.MUL)


class SpecialCheck(Component):
    """Turns instructions into jobs of which no row and no entry lies outside its memory.

    It multiplies and divides bit by bit, lane by lane: the next instruction is checked while the
    one before it is carried out. Latency: 4 cycles and as many as ``rows`` has bits or as there are
    lanes, whichever is more, at most 16.

    Parameters
    ----------
    cfg : sizes of the memories, number of lanes.

    Members
    -------
    i : In(stream.Signature(SPECIAL))
        Instructions; ``opcode`` and ``wait`` are not looked at.
    o : Out(stream.Signature(special_job(cfg)))
        The legal ones, in order.
    error : Out(FaultSignature)
        ILLEGAL_FIELD or SCRATCHPAD_RANGE with this engine's number; nothing more is taken until
        reset.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        super().__init__({
            "i": In(stream.Signature(SPECIAL)),
            "o": Out(stream.Signature(special_job(cfg))),
            "error": Out(FaultSignature),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg, job = self.cfg, self.o.payload
        place_bits = exact_log2(cfg.special.bytes)
        asked = Signal(SPECIAL)

        # The rows of lane 0 times their length, a bit of the rows a cycle.
        bits, most = Signal(16), Signal(16)
        part, product = Signal(place_bits + 2), Signal(place_bits + 2)
        # The rows that are left for the lanes from `here` on, a lane a cycle.
        left, here = Signal(32), Signal(cfg.special.lanes)
        illegal, outside = Signal(), Signal()
        kept = ("operation", "x_signed", "z_signed", "x_row", "x_byte", "z_row",
                "z_byte", "uncentred", "table", "length", "x", "z", "y",
                "zero_point", "low", "high", "shift", "x_zero", "signal")
        m.d.comb += [
            *(job[name].eq(asked[name]) for name in kept),
            job.rows.eq(most),
            job.results.eq(product),
        ]
        if cfg.fixed_pairs:
            m.d.comb += job.multiplier.eq(multiplier_bits(asked))
        if cfg.training:
            m.d.comb += job.slot.eq(asked.table)
        with m.FSM():
            with m.State("TAKE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += asked.eq(self.i.payload)
                with m.If(self.i.valid):
                    m.next = "BEGIN"
            with m.State("BEGIN"):
                rows = Mux(asked.total < asked.rows, asked.total[:16], asked.rows)
                m.d.sync += [
                    illegal.eq(_illegal(asked, cfg)),
                    Cat(bits, most).eq(Cat(rows, rows)),
                    part.eq(asked.length[: place_bits + 1]),
                    product.eq(0),
                    outside.eq(asked.length[place_bits + 1 :].any()),
                    left.eq(asked.total),
                    here.eq(1),
                    Cat(job.full, job.edge, job.edge_rows).eq(0),
                ]
                m.next = "COUNT"
            with m.State("COUNT"):
                m.d.sync += [bits.eq(bits >> 1), part.eq(_capped(part << 1))]
                with m.If(bits[0]):
                    m.d.sync += product.eq(_capped(product + part))
                with m.If(left >= asked.rows):
                    m.d.sync += [job.full.eq(job.full | here), left.eq(left - asked.rows)]
                with m.Elif(left != 0):
                    m.d.sync += [job.edge.eq(here), job.edge_rows.eq(left), left.eq(0)]
                with m.If(here != 0):
                    m.d.sync += here.eq(here << 1)
                with m.Else():  # no lane is left
                    m.d.sync += [illegal.eq(illegal | (left != 0)), left.eq(0)]
                with m.If((bits == 0) & (left == 0)):
                    m.next = "COMPARE"
            with m.State("COMPARE"):
                m.d.sync += outside.eq(outside | self._outside(asked, product))
                m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += [
                    self.o.valid.eq(~illegal & ~outside),
                    self.error.valid.eq(illegal | outside),
                ]
                with m.If(self.error.valid):
                    m.next = "FAILED"
                with m.Elif(self.o.ready):
                    m.next = "TAKE"
            with m.State("FAILED"):
                pass
        m.d.comb += [
            self.error.payload.address.eq(Engine.SPECIAL),
            self.error.payload.code.eq(
                Mux(illegal, ErrorCode.ILLEGAL_FIELD, ErrorCode.SCRATCHPAD_RANGE)
            ),
        ]
        return m

    def _outside(self, asked: data.View, product: Value) -> Value:
        """Return whether a row or an entry lies outside its memory."""
        cfg = self.cfg
        place_bits, tables = exact_log2(cfg.special.bytes), cfg.special.entries // 256
        # No more is read than written; what is lost at the top here is outside by the results.
        length, rows = (count[: place_bits + 1] for count in (asked.length, self.o.payload.rows))
        sizes = {"y": product} | {
            name: Mux(
                asked[f"{name}_row"],
                Mux(asked[f"{name}_byte"], 1, length),
                Mux(asked[f"{name}_byte"], rows, product),
            )
            for name in ("x", "z")
        }
        above = {name: asked[name][place_bits:] for name in sizes}
        if cfg.fixed_pairs:
            pairs = takes_pairs(asked.operation)
            above = {
                name: bits & ~Cat(Const(0, PLACE_BITS - place_bits), pairs.replicate(12))
                for name, bits in above.items()
            }
        ends = {
            name: above[name].any() | (asked[name][:place_bits] + size > cfg.special.bytes)
            for name, size in sizes.items()
        }
        normalize = asked.operation == SpecialOperation.NORMALIZE
        reads, beyond = takes_pairs(asked.operation), asked.table >= tables
        if cfg.training:
            loss = asked.operation == SpecialOperation.CROSS_ENTROPY
            reads, beyond = reads | loss, beyond & ~loss
        return Cat(
            ends["x"],
            ends["y"],
            ends["z"] & reads,
            beyond,
            normalize & ((asked.table << 8) + asked.length > cfg.special.entries),
        ).any()


def multiplier_bits(asked: data.View) -> Value:
    """Return the multiplier of a sum or a product in fixed point, above its places."""
    return Cat(asked.x[PLACE_BITS:], asked.z[PLACE_BITS:], asked.y[PLACE_BITS:-5])


def _illegal(asked: data.View, cfg: AcceleratorConfig) -> Value:
    """Return whether a field is illegal whatever it leads to."""
    pair = (asked.operation == SpecialOperation.MUL) & (asked.shift >= 120)
    if cfg.fixed_pairs:
        far = (asked.shift < -31) | (asked.shift > 30) | asked.y[-5:].any()
        pair = takes_pairs(asked.operation) & far
    operations, repeats = SpecialOperation.MUL, Cat(asked[name] for name in REPEATS).any()
    if cfg.training:
        operations = max(SpecialOperation)
        loss = asked.operation == SpecialOperation.CROSS_ENTROPY
        others = Cat(asked[name] for name in REPEATS if name != "z_byte").any()
        repeats = Mux(loss, others | ~asked.z_byte, repeats)
        pair |= loss & ((asked.length > cfg.training.classes) | (asked.table >= SLOTS))
    return Cat(
        asked.operation > operations,
        repeats & ~takes_pairs(asked.operation),
        asked.reserved0,
        (asked.x_zero != 0) & ~asked.uncentred,
        asked.uncentred & (asked.operation != SpecialOperation.NORMALIZE),
        asked.rows == 0,
        asked.length == 0,
        asked.total == 0,
        (asked.operation == SpecialOperation.NORMALIZE) & (asked.shift >> 5 != 0),
        pair,
        *(_exceeds(asked[name], 9) for name in ("zero_point", "low", "high")),
        asked.low > asked.high,
    ).any()


def _capped(value: Value) -> Value:
    """Return a number of which the top bit of the result, once set, stays set."""
    width = len(value) - 1
    return Cat(value[: width - 1], value[width - 1 :].any())


def _exceeds(value: Value, width: int) -> Value:
    """Return whether a signed value needs more than ``width`` bits."""
    return (value[width - 1 :] != 0) & ~value[width - 1 :].all()
