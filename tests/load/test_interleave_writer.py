# SPDX-License-Identifier: Apache-2.0
"""The interleave writer alone: each byte once, at its place, a beat a cycle, up to the edge."""

import random

import cocotb
import pytest
from cocotb.triggers import RisingEdge

from kiwicha.hw.load.interleave_writer import InterleaveWriter, run_layout
from kiwicha.hw.parts.format_rules import format_job
from kiwicha.hw.parts.writes import bank_write
from kiwicha.machine.isa import WeightFormat
from kiwicha.machine.presets import preset

from ..support.bench import bench_params, run_cocotb
from ..support.netlist import assert_structure
from ..support.streams import StreamSource, start_clock_and_reset, unpack

TINY = preset("tiny").replace(activation_bytes=1024, interleave={"rows": (3, 5)})
MACHINES = {
    "narrow": TINY,
    "wide": TINY.replace(rows=20, axi_data_width=128, interleave={"rows": (3, 7, 15)}),
    "long beats": TINY.replace(rows=3, axi_data_width=256, interleave={"rows": (9,)}),
    "smallest": TINY.replace(activation_bytes=256, interleave={"rows": (15,)}),
}


def random_job(cfg, chooser, *, inside=True):
    """Return runs of bytes as (first place, bytes), and the job's fields."""
    size, rows = cfg.activation_bytes, chooser.choice(cfg.interleave.rows)
    while True:
        length = chooser.choice((1, chooser.randint(1, 40), chooser.randint(1, size // rows)))
        fields = {
            "extent": rows, "local": chooser.randrange(size),
            "local_pitch": chooser.choice((1, -1, chooser.randint(-size, size))),
        }
        firsts = [fields["local"] + k * fields["local_pitch"] for k in range(chooser.randint(1, 4))]
        lasts = [first + (length - 1) * rows for first in firsts]
        if (min(firsts) >= 0 and max(lasts) < size) == inside:
            return fields, [(first, chooser.randbytes(length)) for first in firsts]


def job(cfg, fields):
    """Return the payload of ``job``."""
    pitch, given = cfg.weight_pitch, fields
    return dict.fromkeys(format_job(cfg).members, 0) | {
        "format": WeightFormat.INTERLEAVED, "extent": given["extent"],
        "row": given["local"] // pitch, "low": given["local"] % pitch,
        "row_pitch": given["local_pitch"] // pitch, "low_pitch": given["local_pitch"] % pitch,
    }


def beats_of(chooser, runs, beat):
    """Return the beats around the runs, at random alignments."""
    beats = []
    for number, (_, octets) in enumerate(runs):
        head = chooser.randrange(beat)
        data = chooser.randbytes(head) + octets
        data += chooser.randbytes(-len(data) % beat)
        for at in range(0, len(data), beat):
            end = at + beat == len(data)
            beats.append({
                "data": int.from_bytes(data[at : at + beat], "little"),
                "head": 0 if at else head,
                "tail": (head + len(octets) - 1) % beat if end else beat - 1,
                "fresh": at == 0, "last": end and number == len(runs) - 1,
            })
    return beats


def written_now(cfg, dut):
    """Return the bytes by place that are written in this cycle."""
    write = unpack(bank_write(cfg), int(dut.write__payload.value))
    banks = cfg.activation_banks
    return {
        byte["word"] * banks + bank: byte["octet"]
        for bank, byte in enumerate(write) if byte["live"]
    }


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def writes_bytes(dut):
    params = bench_params()
    cfg = MACHINES[params["machine"]]
    chooser = random.Random(5)
    await start_clock_and_reset(dut)
    jobs = StreamSource(dut, "job", format_job(cfg))
    source = StreamSource(dut, "i", run_layout(cfg.beat_bytes), policy=params["offer"])
    for _ in range(40):
        fields, runs = random_job(cfg, chooser)
        expected, image = {}, {}
        for first, octets in runs:
            expected |= {first + k * fields["extent"]: octet for k, octet in enumerate(octets)}
        beats = beats_of(chooser, runs, cfg.beat_bytes)
        jobs.put([job(cfg, fields)])
        source.put(beats)
        writes, done, cycles = 0, False, 0
        while not done:
            await RisingEdge(dut.clk)
            cycles += 1
            assert not int(dut.outside.value)
            done = bool(dut.done.value)
            assert dut.write__valid.value or not done, "done without the last write"
            if dut.write__valid.value:
                image |= written_now(cfg, dut)
                writes += 1
        assert image == expected
        assert writes == len(beats)
        if params["offer"] == "always":
            assert cycles <= len(beats) + 8, "not a beat a cycle"


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def stops_at_the_edge(dut):
    """Beats inside come out, the first one with a byte outside and all after it do not."""
    cfg = MACHINES[bench_params()["machine"]]
    chooser = random.Random(6)
    size, rows = cfg.activation_bytes, cfg.interleave.rows[0]
    far = [
        ({"extent": rows, "local": 0, "local_pitch": sign << bit}, [(0, b"a"), (sign << bit, b"b")])
        for bit in range(size.bit_length() - 1, 31) for sign in (1, -1)
    ]
    far += [({"extent": rows, "local": 1 << bit, "local_pitch": 0}, [(1 << bit, b"a")])
            for bit in range(size.bit_length() - 1, 32)]
    far.append((
        {"extent": rows, "local": size - rows, "local_pitch": 0}, [(size - rows, b"ab")]
    ))
    await start_clock_and_reset(dut)
    jobs = StreamSource(dut, "job", format_job(cfg))
    source = StreamSource(dut, "i", run_layout(cfg.beat_bytes))
    for fields, runs in (*far, *(random_job(cfg, chooser, inside=False) for _ in range(15))):
        beats = beats_of(chooser, runs, cfg.beat_bytes)
        expected, stop = {}, False
        at = iter(beats)
        for first, octets in runs:
            place, end, beat = first, 0, None
            while end < len(octets) and not stop:
                beat = next(at)
                count = beat["tail"] - beat["head"] + 1
                part = {place + k * fields["extent"]: octets[end + k] for k in range(count)}
                stop = min(part) < 0 or max(part) >= size
                if not stop:
                    expected |= part
                place, end = place + count * fields["extent"], end + count
        assert stop
        jobs.put([job(cfg, fields)])
        source.put(beats)
        image, outside = {}, 0
        for _ in range(len(beats) + 12):
            await RisingEdge(dut.clk)
            assert not int(dut.done.value)
            outside += int(dut.outside.value)
            if dut.write__valid.value:
                image |= written_now(cfg, dut)
        assert outside == 1
        assert image == expected
        dut.rst.value = 1
        await RisingEdge(dut.clk)
        await RisingEdge(dut.clk)
        dut.rst.value = 0


@pytest.mark.parametrize("offer", ["always", "random", "bursty"])
@pytest.mark.parametrize("machine", MACHINES)
def test_writes_bytes(machine, offer):
    params = {"machine": machine, "offer": offer}
    unit = InterleaveWriter(MACHINES[machine])
    run_cocotb(unit, __name__, params=params, testcase="writes_bytes")


@pytest.mark.parametrize("machine", MACHINES)
def test_stops_at_the_edge(machine):
    unit = InterleaveWriter(MACHINES[machine])
    run_cocotb(unit, __name__, params={"machine": machine}, testcase="stops_at_the_edge")


@pytest.mark.parametrize("machine", ["narrow", "wide"])
def test_structure(machine):
    assert_structure(InterleaveWriter(MACHINES[machine]))
