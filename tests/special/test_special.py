# SPDX-License-Identifier: Apache-2.0
"""The SPECIAL engine against the golden model, its errors and its pace."""

import cocotb
import numpy as np
import pytest
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge

from kiwicha.hw.parts.writes import scratchpad_write
from kiwicha.hw.special.special import SpecialEngine
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.fixed_pairs import with_multiplier
from kiwicha.machine.isa import SPECIAL, Engine, ErrorCode, LoadTarget, SpecialOperation

from ..support.bench import bench_params, run_cocotb
from ..support.streams import StreamSource, pack, start_clock_and_reset
from .special_cases import execute, instruction, tables_for

TABLE, ADD, SOFTMAX, NORMALIZE, MUL = SpecialOperation
FIELD, RANGE = ErrorCode.ILLEGAL_FIELD, ErrorCode.SCRATCHPAD_RANGE
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
        execute(self.cfg, program, self.operand, self.tables, expected)
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
        operation = SpecialOperation(turn % 5)
        await bench.refill(operation)
        kinds = [operation if bench.rng.random() < 0.7 else TABLE for _ in range(4)]
        await bench.run([instruction(bench.cfg, bench.rng, kind, longest=256) for kind in kinds])


#: What makes the instruction below illegal, and which error that is. The memories have 256 bytes a
#: lane, the tables 512 entries, and there are two lanes.
PLAIN = {
    "signal": 1, "operation": TABLE, "rows": 4, "length": 10, "total": 7, "x": 0, "z": 0, "y": 0,
    "low": -128, "high": 127, "x_row": 0, "x_byte": 0, "z_row": 0, "z_byte": 0, "table": 0,
    "shift": 20, "zero_point": 0, "x_signed": 0, "uncentred": 0, "x_zero": 0,
}
FAULTS = [
    ({"operation": 5}, FIELD),
    ({"operation": 8}, FIELD),
    ({"operation": 15}, FIELD),
    ({"reserved0": 1}, FIELD),
    ({"z_row": 1}, FIELD),
    ({"operation": NORMALIZE, "x_row": 1}, FIELD),
    ({"operation": NORMALIZE, "x_byte": 1}, FIELD),
    ({"operation": SOFTMAX, "z_byte": 1}, FIELD),
    ({"uncentred": 1}, FIELD),
    ({"operation": MUL, "uncentred": 1}, FIELD),
    ({"x_zero": -128}, FIELD),
    ({"operation": NORMALIZE, "x_zero": 1}, FIELD),
    ({"rows": 0}, FIELD),
    ({"length": 0}, FIELD),
    ({"total": 0}, FIELD),
    ({"total": 9}, FIELD),
    ({"total": (1 << 32) - 1}, FIELD),
    ({"low": 128}, FIELD),
    ({"high": 256}, FIELD),
    ({"low": -257}, FIELD),
    ({"zero_point": 300}, FIELD),
    ({"operation": NORMALIZE, "shift": 32}, FIELD),
    ({"operation": NORMALIZE, "shift": -1}, FIELD),
    ({"operation": MUL, "shift": 120}, FIELD),
    ({"x": 217}, RANGE),
    ({"y": 217}, RANGE),
    ({"operation": ADD, "z": 217}, RANGE),
    ({"operation": ADD, "z": 1 << 31}, RANGE),
    ({"operation": MUL, "z": 217}, RANGE),
    ({"operation": MUL, "z": 247, "z_row": 1}, RANGE),
    ({"operation": ADD, "z": 253, "z_byte": 1}, RANGE),
    ({"operation": ADD, "x": 247, "x_row": 1}, RANGE),
    ({"operation": MUL, "x": 253, "x_byte": 1}, RANGE),
    ({"operation": MUL, "y": 217, "x_byte": 1, "z_byte": 1}, RANGE),
    ({"operation": ADD, "z": 256, "z_row": 1, "z_byte": 1}, RANGE),
    ({"x": 256}, RANGE),
    ({"x": 1 << 31}, RANGE),
    ({"length": 65}, RANGE),
    ({"length": 0xFFFF}, RANGE),
    ({"length": 0x8000, "rows": 0x8000, "total": 0x8000}, RANGE),
    ({"rows": 0xFFFF, "total": 0x10001}, RANGE),
    ({"table": 2}, RANGE),
    ({"table": 15}, RANGE),
    ({"operation": NORMALIZE, "table": 1, "rows": 1, "total": 1, "length": 257}, RANGE),
]
#: The same where sums and products are in fixed point: their multiplier is above 20 bits of places.
FIXED_FAULTS = [
    ({"operation": MUL, "shift": 31}, FIELD),
    ({"operation": MUL, "shift": -32}, FIELD),
    ({"operation": ADD, "shift": 120}, FIELD),
    ({"operation": ADD, "shift": -128}, FIELD),
    ({"operation": ADD, "shift": -20, "y": 1 << 27}, FIELD),
    ({"operation": MUL, "shift": -20, "y": 1 << 31}, FIELD),
    ({"operation": ADD, "shift": -20, "x": 217}, RANGE),
    ({"operation": MUL, "shift": -20, "z": 1 << 19}, RANGE),
    ({"operation": ADD, "shift": -20, "x": 1 << 19 | 1 << 20}, RANGE),
    ({"operation": ADD, "shift": -20, "z": 256 | 1 << 31}, RANGE),
    ({"operation": MUL, "shift": -20, "y": 256 | 1 << 26}, RANGE),
    ({"x": 1 << 20}, RANGE),
    ({"y": 1 << 31}, RANGE),
    ({"operation": SOFTMAX, "x": 1 << 20}, RANGE),
]
FIXED_LEGAL = [
    {"operation": ADD, "shift": -31, "x": 216 | 0xFFF << 20, "z": 0xFFF << 20, "y": 127 << 20},
    {"operation": ADD, "shift": 30, "z": 1 << 31, "y": 64 << 20},
    {"operation": MUL, "shift": 12, "x": 216, "z": 216, "y": 216 | 64 << 20},
    {"operation": MUL, "shift": -3, "y": 127 << 20, "z_row": 1, "z": 246 | 5 << 20},
]
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
LEGAL = [{"x": 216, "y": 216, "z": 217, "table": 1, "total": 8}, {"length": 64},
         {"operation": MUL, "shift": 119}, {"operation": MUL, "z": 246, "z_row": 1},
         {"operation": ADD, "z": 252, "z_byte": 1, "x": 246, "x_row": 1},
         {"operation": ADD, "z": 255, "z_row": 1, "z_byte": 1}]


@cocotb.test()
async def errors(dut):
    """What is illegal is refused before it reads anything; what is just legal is carried out."""
    bench = await begin(dut)
    await bench.refill(TABLE)
    legal = FIXED_LEGAL if bench.cfg.fixed_pairs else LEGAL
    await bench.run([PLAIN | change for change in legal])
    faults = FIXED_FAULTS if bench.cfg.fixed_pairs else FAULTS
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
    for operation, length, alone, later in FIXED_PACE if bench.cfg.fixed_pairs else PACE:
        await bench.refill(operation)
        rows = size // length
        fields = PLAIN | {"operation": operation, "rows": rows, "total": rows, "length": length}
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
@pytest.mark.parametrize("name", ["two lanes", "fixed point"])
def test_pauses_between_instructions(name, policy):
    cfg = machine(**MACHINES[name])
    simulate(cfg, "equals_golden", {"turns": 5, "offer": policy})


@pytest.mark.parametrize("name", ["two lanes", "fixed point"])
def test_errors(name):
    simulate(machine(**MACHINES[name]), "errors", {})


@pytest.mark.parametrize("mode", ["onnx", "tflite"])
def test_pace(mode):
    simulate(machine(**MACHINES["one lane"], requantize_mode=mode), "keeps_pace", {})


def test_without_lanes():
    with pytest.raises(ValueError, match=r"^special.lanes is 0; legal: at least 1$"):
        SpecialEngine(AcceleratorConfig())
