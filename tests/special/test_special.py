# SPDX-License-Identifier: Apache-2.0
"""The SPECIAL engine against the golden model, its errors and its pace."""

import cocotb
import numpy as np
import pytest
from amaranth.lib import data
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge

from kiwicha.hw.parts.writes import scratchpad_write
from kiwicha.hw.special.special import SpecialEngine
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.fixed_pairs import with_multiplier
from kiwicha.machine.isa import SLOTS, SPECIAL, Engine, LoadTarget, SpecialOperation
from kiwicha.machine.records import SLOT_LAYOUT
from kiwicha.machine.shifts import exponent_of

from ..support.bench import bench_params, run_cocotb
from ..support.streams import StreamSource, pack, start_clock_and_reset
from .special_cases import execute, instruction, tables_for
from .special_faults import (
    FAULTS,
    FIXED_FAULTS,
    FIXED_LEGAL,
    LEGAL,
    LOSS_FAULTS,
    LOSS_LEGAL,
    PLAIN,
)

TABLE, ADD, SOFTMAX, NORMALIZE, MUL, LOSS = SpecialOperation
MACHINES = {
    "one lane": {"special": {"lanes": 1, "bytes": 2048}, "axi_data_width": 64},
    "two lanes": {
        "special": {"lanes": 2, "entries": 512, "softmax": "integer"}, "axi_data_width": 64,
    },
    "four lanes": {"special": {"lanes": 4, "softmax": "tflite"}, "axi_data_width": 128},
    "fixed point": {
        "special": {"lanes": 2, "entries": 512, "softmax": "tflite"}, "axi_data_width": 64,
        "requantize_mode": "tflite",
    },
    "training": {
        "special": {"lanes": 2, "entries": 512, "softmax": "integer"}, "axi_data_width": 64,
        "training": {"classes": 32}, "residual": {"tables": 2}, "transposer": True,
    },
}


def machine(**fields):
    small = {"bytes": 256, "entries": 256}
    return AcceleratorConfig(**{**fields, "special": small | fields["special"]})


class Bench:
    """An engine with operands and tables in it, and a record of what it says."""

    def __init__(self, dut, cfg, seed):
        self.dut, self.cfg = dut, cfg
        self.rng = np.random.default_rng(seed)
        self.operand = np.zeros((cfg.special.lanes, cfg.special.bytes), np.uint8)
        self.tables = np.zeros((2, cfg.special.entries), np.uint32)
        self.exponents = [0] * SLOTS
        self.cycle, self.steps = 0, 0
        self.taken, self.done, self.errors = [], [], []
        self.source = StreamSource(dut, "i", SPECIAL, policy=bench_params().get("offer", "always"))
        cocotb.start_soon(self._watch())

    async def _watch(self):
        dut = self.dut
        while True:
            await RisingEdge(dut.clk)
            if dut.i__valid.value and dut.i__ready.value:
                self.taken.append(self.cycle)
            if dut.done__valid.value:
                self.done.append((self.cycle, dut.done__payload.value.to_unsigned()))
            if dut.error__valid.value:
                self.errors.append(dut.error__payload.value.to_unsigned())
            pending = sum(c < self.cycle for c in self.taken) - sum(
                c < self.cycle for c, _ in self.done
            )
            assert bool(dut.busy.value) == (pending > 0), f"busy wrong in cycle {self.cycle}"
            self.steps += bool(dut.stepping.value)
            self.cycle += 1

    async def reset(self):
        """Forget everything but what is in the memories."""
        await FallingEdge(self.dut.clk)
        self.dut.rst.value = 1
        await FallingEdge(self.dut.clk)
        self.dut.rst.value = 0
        self.taken.clear()
        self.done.clear()

    async def load(self, target, image):
        """Write an image of bytes, in any order, and what must not arrive anywhere."""
        dut, cfg = self.dut, self.cfg
        for address in self.rng.permutation(image.size // cfg.beat_bytes) * cfg.beat_bytes:
            word = int.from_bytes(image.reshape(-1)[address:][: cfg.beat_bytes].tobytes(), "little")
            for kind, bits in ((target, word), (LoadTarget.PARAMETER, 0), (LoadTarget.WEIGHT, 0)):
                fields = {"target": kind, "address": int(address), "data": bits}
                dut.write__valid.value = 1
                dut.write__payload.value = pack(scratchpad_write(cfg), fields)
                await FallingEdge(dut.clk)
        dut.write__valid.value = 0

    async def refill(self, operation):
        """Load new operands and tables."""
        self.operand = self.rng.integers(0, 256, self.operand.shape, dtype=np.uint8)
        if self.rng.random() < 0.5:  # rows whose maximum stands out
            self.operand //= 2
        self.tables = tables_for(self.cfg, self.rng, operation)
        await self.load(LoadTarget.OPERAND, self.operand)
        await self.load(LoadTarget.TABLE, self.tables.view(np.uint8))
        if self.cfg.training:
            self.set_slots()

    def set_slots(self):
        """Give all slots scales: mostly such as logits have, and any bits."""
        scales = np.ldexp(self.rng.uniform(1, 2, SLOTS), self.rng.integers(-20, 13, SLOTS))
        bits = scales.astype(np.float32).view(np.uint32)
        if self.rng.random() < 0.3:
            bits[:] = self.rng.integers(0, 1 << 32, SLOTS)
        self.exponents = [exponent_of(scale) for scale in bits.view(np.float32)]
        slots = [{"scale": int(word), "zero_point": int(self.rng.integers(256))} for word in bits]
        self.dut.slots.value = pack(data.ArrayLayout(SLOT_LAYOUT, SLOTS), slots)

    async def results(self):
        """Read all results, a beat a cycle; a byte that is unknown comes as -1."""
        dut, beat = self.dut, self.cfg.beat_bytes
        data = []
        dut.result_enable.value = 1
        for address in range(0, self.operand.size + 2 * beat, beat):
            dut.result_address.value = address
            await RisingEdge(dut.clk)
            if address >= 2 * beat:
                word = str(dut.result_data.value)
                for high in range(8 * beat, 0, -8):
                    bits = word[high - 8 : high]
                    data.append(int(bits, 2) if set(bits) <= {"0", "1"} else -1)
        dut.result_enable.value = 0
        await FallingEdge(dut.clk)
        return np.array(data).reshape(self.operand.shape)

    async def run(self, program):
        """Carry out instructions, compare every byte and every answer."""
        expected = await self.results()
        self.done.clear()
        self.taken.clear()
        await self.source.send([dict(fields) for fields in program])
        while len(self.done) < len(program) and not self.errors:
            await ClockCycles(self.dut.clk, 1)
        assert not self.errors
        assert [mask for _, mask in self.done] == [fields["signal"] for fields in program]
        execute(self.cfg, program, self.operand, self.tables, expected, self.exponents)
        got = await self.results()
        wrong = np.argwhere(got != expected)
        at = tuple(wrong[:6].T)
        assert not len(wrong), (
            f"{len(wrong)} bytes wrong, first {wrong[:6].tolist()}: {got[at]}, not {expected[at]}"
        )


async def begin(dut):
    params = bench_params()
    cfg = AcceleratorConfig(**params["config"])
    await start_clock_and_reset(dut)
    return Bench(dut, cfg, params.get("seed", 1))


@cocotb.test()
async def equals_golden(dut):
    bench = await begin(dut)
    for turn in range(bench_params()["turns"]):
        operation = SpecialOperation(turn % (6 if bench.cfg.training else 5))
        await bench.refill(operation)
        kinds = [operation if bench.rng.random() < 0.7 else TABLE for _ in range(4)]
        await bench.run([instruction(bench.cfg, bench.rng, kind, longest=256) for kind in kinds])


#: Operation, length of the rows that fill 2048 bytes, and the cycles that they may take alone and
#: after others of their kind.
PACE = [
    (TABLE, 16, 2072, 2059),
    (ADD, 197, 1998, 1989),
    (MUL, 197, 2004, 1995),
    (SOFTMAX, 16, 2599, 2440),
    (SOFTMAX, 64, 2897, 2356),
    (SOFTMAX, 197, 3664, 2652),
    (NORMALIZE, 64, 5027, 5016),
    (NORMALIZE, 197, 3090, 3081),
]
#: Sums and products in fixed point, each of the same latency.
FIXED_PACE = [(ADD, 197, 2000, 1991), (MUL, 197, 2000, 1991)]
#: Of logits, of which 224 bytes fill the machine's 256 beside their labels.
LOSS_PACE = [(LOSS, 10, 2007, 1997), (LOSS, 1, 2046, 2033)]


@cocotb.test()
async def errors(dut):
    """What is illegal is refused before it reads anything; what is just legal is carried out."""
    bench = await begin(dut)
    await bench.refill(TABLE)
    legal = FIXED_LEGAL if bench.cfg.fixed_pairs else LEGAL
    faults = FIXED_FAULTS if bench.cfg.fixed_pairs else FAULTS
    if bench.cfg.training:
        legal, faults = LOSS_LEGAL, LOSS_FAULTS
    await bench.run([PLAIN | change for change in legal])
    for change, code in faults:
        bench.taken.clear()
        bench.done.clear()
        bench.errors.clear()
        bench.steps = 0
        bench.source.put([dict(PLAIN), PLAIN | change])
        await ClockCycles(dut.clk, 150)
        assert bench.errors == [int(code) | Engine.SPECIAL << 8], f"{change}: {bench.errors}"
        assert (len(bench.taken), len(bench.done)) == (2, 1), str(change)
        assert not dut.i__ready.value, str(change)
        assert dut.busy.value, str(change)
        assert bench.steps == 40, f"{change}: {bench.steps} steps"
        await bench.reset()


@cocotb.test()
async def keeps_pace(dut):
    """Cycles from an instruction's transfer to its answer."""
    bench = await begin(dut)
    size = bench.cfg.special.bytes
    paces = FIXED_PACE if bench.cfg.fixed_pairs else PACE
    for operation, length, alone, later in LOSS_PACE if bench.cfg.training else paces:
        await bench.refill(operation)
        rows = size // length
        fields = PLAIN | {"operation": operation, "rows": rows, "total": rows, "length": length}
        if operation == LOSS:
            rows = (size - 32) // length
            fields |= {"z_byte": 1, "rows": rows, "total": rows, "z": size - rows}
        if bench.cfg.fixed_pairs:
            fields = with_multiplier(fields | {"shift": -20}, 1 << 30)
        await bench.run([fields] * 3)
        (first, _), (before, _), (last, _) = bench.done
        for what, cycles, most in (
            ("alone", first - bench.taken[0], alone),
            ("following", last - before, later),
        ):
            pace = f"{cycles / (rows * length):.3f} an element"
            dut._log.info(f"{operation.name} {length} {what}: {cycles} cycles, {pace}")
            assert cycles <= most, f"{operation.name} of {length} {what}: {cycles} cycles"


def simulate(cfg, testcase, params):
    run_cocotb(
        SpecialEngine(cfg),
        __name__,
        params={"config": cfg.to_dict()} | params,
        testcase=testcase,
        simulator="verilator",
    )


@pytest.mark.parametrize("name", MACHINES)
def test_equals_golden(name):
    cfg = machine(**MACHINES[name])
    params = {"turns": 20, "seed": len(name)}
    simulate(cfg, "equals_golden", params)


@pytest.mark.parametrize("policy", ["random", "bursty"])
@pytest.mark.parametrize("name", ["two lanes", "fixed point", "training"])
def test_pauses_between_instructions(name, policy):
    cfg = machine(**MACHINES[name])
    simulate(cfg, "equals_golden", {"turns": 6, "offer": policy})


@pytest.mark.parametrize("name", ["two lanes", "fixed point", "training"])
def test_errors(name):
    simulate(machine(**MACHINES[name]), "errors", {})


@pytest.mark.parametrize("mode", ["onnx", "tflite"])
def test_pace(mode):
    simulate(machine(**MACHINES["one lane"], requantize_mode=mode), "keeps_pace", {})


def test_pace_of_the_loss():
    simulate(machine(**MACHINES["training"]), "keeps_pace", {})


def test_without_lanes():
    with pytest.raises(ValueError, match=r"^special.lanes is 0; legal: at least 1$"):
        SpecialEngine(AcceleratorConfig())
