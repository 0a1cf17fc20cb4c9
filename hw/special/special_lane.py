# SPDX-License-Identifier: Apache-2.0
"""One lane of the SPECIAL engine: operands, arithmetic, results."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import Component, In, Out

from kiwicha.hw.parts.stated import require_stated
from kiwicha.hw.parts.writes import scratchpad_write
from kiwicha.hw.special.add_round import OPERANDS, AddRound
from kiwicha.hw.special.cross_entropy import CrossEntropyCore
from kiwicha.hw.special.cross_entropy_walk import visit_layout
from kiwicha.hw.special.fixed_pair import FixedPair
from kiwicha.hw.special.multiply_round import MultiplyRound
from kiwicha.hw.special.normalize import NormalizeCore
from kiwicha.hw.special.result_memory import ResultMemory
from kiwicha.hw.special.softmax import softmax_core
from kiwicha.hw.special.softmax_common import CLOSE
from kiwicha.hw.special.special_apply import element_layout
from kiwicha.hw.special.special_check import special_job, takes_pairs
from kiwicha.hw.special.special_fetch import SpecialFetch
from kiwicha.hw.special.special_measure import look_layout
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import SpecialOperation
from kiwicha.machine.latency import ADD_LATENCY, FIXED_PAIR_LATENCY, MUL_LATENCY, SOFTMAX_SPACING

__all__ = ["SpecialLane"]


class SpecialLane(Component):
    """Carries out looks and elements on the lane's own rows; all lanes work in lockstep.

    Throughput: a look and an element a cycle. Results come in the order of the elements, those of
    one operation equally late; operations must not overlap.

    Parameters
    ----------
    cfg : sizes of the memories, ``special.softmax``, ``fixed_pairs``, ``training``.
    lane : number of the lane.
    fetch : cycles from a look to the arithmetic.
    maximum_latency : cycles from a row's last beat to the first byte that may be compared with it.
    spacing : least number of cycles from one summand of a row to the next.

    Members
    -------
    write : In(stream.Signature(scratchpad_write(cfg), always_ready=True))
        Beats from LOAD; those for this lane's operands and for the tables are taken.
    job, ahead : In(special_job(cfg))
        Those of elements and looks, constant while anything of them is on its way; both SOFTMAX or
        both the same.
    look, element : In(stream.Signature(..., always_ready=True))
        As ``look_layout`` and ``element_layout`` have it; a lane that is not in ``live`` idles.
    settled : Out(1)
        The arithmetic is through with all looks that it took.
    close : In(stream.Signature(CLOSE))
        A row of which the last byte was shown.
    result : Out(1); result_place : In(range(special.bytes))
        A result is written in this cycle, to this place.
    read_enable : In(1); read_place : In(range(special.bytes)); beat : Out(axi_data_width)
        Read of the results, as ``ResultMemory`` has it.
    visit : In(stream.Signature(visit_layout(cfg), always_ready=True)); exponent : In(8)
        Elements of CROSS_ENTROPY, and what `CrossEntropyCore` is told; only with ``training``.
    """

    def __init__(self, cfg: AcceleratorConfig, lane: int) -> None:
        self.cfg = cfg
        self.lane = lane
        self._fetch = SpecialFetch(cfg, lane)
        self._pairs: FixedPair | MultiplyRound
        require_stated("a sum's latency", AddRound.latency, ADD_LATENCY)
        if cfg.fixed_pairs:
            self._pairs = FixedPair()
            require_stated("a pair's latency", self._pairs.latency, FIXED_PAIR_LATENCY)
        else:
            self._pairs = MultiplyRound()
            require_stated("a product's latency", self._pairs.latency, MUL_LATENCY)
        self._softmax = softmax_core(cfg.special.softmax)()
        self.fetch = self._fetch.latency
        self.maximum_latency = self._fetch.maximum_latency
        self.spacing = self._softmax.spacing
        require_stated("a softmax's spacing", self.spacing, SOFTMAX_SPACING[cfg.special.softmax])
        place = range(cfg.special.bytes)
        loss = {
            "visit": In(stream.Signature(visit_layout(cfg), always_ready=True)), "exponent": In(8),
        }
        super().__init__({
            **(loss if cfg.training else {}),
            "write": In(stream.Signature(scratchpad_write(cfg), always_ready=True)),
            "job": In(special_job(cfg)),
            "ahead": In(special_job(cfg)),
            "look": In(stream.Signature(look_layout(cfg), always_ready=True)),
            "element": In(stream.Signature(element_layout(cfg), always_ready=True)),
            "settled": Out(1),
            "close": In(stream.Signature(CLOSE)),
            "result": Out(1),
            "result_place": In(place),
            "read_enable": In(1),
            "read_place": In(place),
            "beat": Out(cfg.axi_data_width),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        job = self.job
        m.submodules.fetch = fetch = self._fetch
        m.submodules.softmax = softmax = self._softmax
        m.submodules.normalize = normalize = NormalizeCore(self.cfg.special.digits)
        if self.cfg.fixed_pairs:
            m.submodules.pair = self._pairs
        else:
            m.submodules.add = add = AddRound()
            m.submodules.multiply = multiply = self._pairs
        m.submodules.results = results = ResultMemory(self.cfg)
        wiring.connect(m, fetch.write, wiring.flipped(self.write))
        wiring.connect(m, fetch.look, wiring.flipped(self.look))
        wiring.connect(m, fetch.element, wiring.flipped(self.element))
        wiring.connect(m, softmax.close, wiring.flipped(self.close))
        m.d.comb += [fetch.job.eq(job), fetch.ahead.eq(self.ahead)]

        kind = {operation: job.operation == operation for operation in SpecialOperation}
        row, element = fetch.row.payload, fetch.operands.payload
        softmax_add, divide = softmax.add.payload, softmax.divide.payload
        measure, apply = normalize.measure.payload, normalize.apply.payload
        if self.cfg.fixed_pairs:
            paired = self._fixed(m, fetch)
        else:
            paired = self._float(m, fetch, add, multiply)
        m.d.comb += [
            softmax.add.valid.eq(fetch.row.valid & kind[SpecialOperation.SOFTMAX]),
            softmax_add.slot.eq(row.slot),
            softmax_add.first.eq(row.first),
            softmax_add.value.eq(row.a),
            softmax.divide.valid.eq(fetch.operands.valid & kind[SpecialOperation.SOFTMAX]),
            divide.slot.eq(element.slot),
            divide.value.eq(element.b),
            normalize.length.eq(job.length),
            normalize.shift.eq(job.shift),
            normalize.epsilon.eq(job.z),
            normalize.uncentred.eq(job.uncentred),
            normalize.measure.valid.eq(fetch.row.valid & kind[SpecialOperation.NORMALIZE]),
            measure.x.eq(row.x),
            measure.first.eq(row.first),
            measure.last.eq(row.last),
            normalize.apply.valid.eq(fetch.operands.valid & kind[SpecialOperation.NORMALIZE]),
            apply.x.eq(element.x),
            apply.gain.eq(element.a),
            apply.offset.eq(element.b),
            self.settled.eq(
                Mux(kind[SpecialOperation.SOFTMAX], softmax.idle, normalize.measured)
            ),
        ]

        # Choose, add the zero point, clamp, write: a cycle each.
        chosen, chosen_valid = Signal(signed(16), reset_less=True), Signal()
        value, value_valid = Signal(signed(17), reset_less=True), Signal()
        clamped = Signal(8, reset_less=True)
        ways = {
            SpecialOperation.TABLE: (fetch.operands.valid, element.a[:8]),
            SpecialOperation.ADD: paired,
            SpecialOperation.MUL: paired,
            SpecialOperation.SOFTMAX: (softmax.o.valid, softmax.o.payload),
            SpecialOperation.NORMALIZE: (normalize.o.valid, normalize.o.payload),
        }
        final: Value = kind[SpecialOperation.TABLE]  # as it is
        if self.cfg.training:
            ways[SpecialOperation.CROSS_ENTROPY] = self._loss(m, fetch)
            final = final | kind[SpecialOperation.CROSS_ENTROPY]
        m.d.sync += [
            chosen_valid.eq(0),
            value_valid.eq(chosen_valid),
            value.eq(chosen + Mux(final, 0, job.zero_point)),
            results.write.valid.eq(value_valid),
        ]
        with m.Switch(job.operation):
            for operation, (valid, result) in ways.items():
                with m.Case(operation):
                    m.d.sync += [chosen_valid.eq(valid), chosen.eq(result)]
        with m.If(final | ((value >= job.low) & (value <= job.high))):
            m.d.sync += clamped.eq(value)
        with m.Elif(value < job.low):
            m.d.sync += clamped.eq(job.low)
        with m.Else():
            m.d.sync += clamped.eq(job.high)
        m.d.comb += [
            results.write.payload.value.eq(clamped),
            results.write.payload.place.eq(self.result_place),
            self.result.eq(results.write.valid),
            results.read_enable.eq(self.read_enable),
            results.read_place.eq(self.read_place),
            self.beat.eq(results.beat),
        ]
        return m

    def _loss(self, m: Module, fetch: SpecialFetch) -> tuple[Value, Value]:
        """Feed logits; return when there is an error, and which."""
        m.submodules.loss = loss = CrossEntropyCore(self.cfg.training.classes)
        wiring.connect(m, fetch.visit, wiring.flipped(self.visit))
        wiring.connect(m, loss.i, fetch.logit)
        m.d.comb += loss.exponent.eq(self.exponent)
        return loss.o.valid, loss.o.payload

    def _float(
        self, m: Module, fetch: SpecialFetch, add: AddRound, multiply: MultiplyRound
    ) -> tuple[Value, Value]:
        """Feed sums and products in binary32; return when there is one, and which."""
        job, element = self.job, fetch.operands.payload
        product = job.operation == SpecialOperation.MUL
        factors, terms = multiply.i.payload, Signal(OPERANDS)
        m.d.comb += [
            multiply.shift.eq(job.shift),
            multiply.i.valid.eq(fetch.operands.valid & product),
            Cat(factors.a, factors.a_negative).eq(element.a),
            Cat(factors.b, factors.b_negative, factors.fraction).eq(element.b),
            factors.offset.eq(element.a[16:]),
            add.i.valid.eq(
                multiply.o.valid
                | (fetch.operands.valid & (job.operation == SpecialOperation.ADD))
            ),
            add.i.payload.eq(
                Mux(product, multiply.o.payload.as_value(), terms.as_value())
            ),
            terms.a.eq(element.a),
            terms.negative.eq(element.negative),
            terms.shift.eq(job.shift),
            terms.b.eq(element.b),
        ]
        return add.o.valid, add.o.payload

    def _fixed(self, m: Module, fetch: SpecialFetch) -> tuple[Value, Value]:
        """The same in fixed point."""
        job, element, pair = self.job, fetch.operands.payload, self._pairs
        m.d.comb += [
            pair.multiplier.eq(job.multiplier),
            pair.shift.eq(job.shift),
            pair.i.valid.eq(fetch.operands.valid & takes_pairs(job.operation)),
            pair.i.payload.a.eq(element.a),
            pair.i.payload.b.eq(element.b),
            pair.i.payload.product.eq(job.operation == SpecialOperation.MUL),
        ]
        return pair.o.valid, pair.o.payload
