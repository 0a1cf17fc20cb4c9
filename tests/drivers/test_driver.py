# SPDX-License-Identifier: Apache-2.0
"""The Python driver on a machine that computes what the golden one does: results, order, errors."""

import types

import numpy as np
import pytest

import kiwicha
from kiwicha.boards.port import LinkPort
from kiwicha.drivers.driver import Driver, DriverError
from kiwicha.drivers.ports import UIO, DevMem, Pynq
from kiwicha.drivers.sequence import error_text, start_registers
from kiwicha.machine.isa import ErrorCode
from kiwicha.models.variants import build, random_input
from kiwicha.sim.setup import setup_writes

from .fake_machine import FakeMachine
from .programs import machine_of, written

BASE = 0x2000_0000


class FakePort:
    """A port without anything in between."""

    def __init__(self, machine):
        self.machine, self.base, self.memory_bytes = machine, machine.origin, machine.memory.size
        self.waits = 0

    def read32(self, offset):
        return self.machine.read32(offset)

    def write32(self, offset, value):
        self.machine.write32(offset, value)

    def read(self, address, size):
        start = address - self.base
        assert 0 <= start <= start + size <= self.memory_bytes
        return self.machine.memory[start : start + size].tobytes()

    def write(self, address, data):
        start = address - self.base
        assert 0 <= start <= start + len(data) <= self.memory_bytes
        self.machine.memory[start : start + len(data)] = np.frombuffer(data, np.uint8)

    def wait(self, seconds):
        self.waits += 1
        return True


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    model, shape = build("flatten")
    inputs = {"x": random_input(shape)}
    return *written(model, tmp_path_factory.mktemp("p"), inputs, "tiny"), inputs


def fake(program, spare=8192, **options):
    memory = np.full(program.image.size + spare, 0xA5, np.uint8)
    return FakePort(FakeMachine(machine_of(program), memory, BASE, **options))


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert (found[name].dtype, found[name].tobytes()) == (array.dtype, array.tobytes())


NETWORKS = {"flatten": "tiny", "conv_strided": "small", "residual": None, "softmax": None}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("offset", [0, 4096])
def test_networks(name, offset, tmp_path):
    model, shape = build(name)
    inputs = {"x": random_input(shape)}
    program, expected = written(model, tmp_path, inputs, NETWORKS[name])
    port = fake(program)
    driver = Driver(port)
    driver.load(program, BASE + offset if offset else None)
    for _ in range(2):
        same(driver.run(inputs), expected)
    memory = port.machine.memory
    assert (memory[:offset] == 0xA5).all()
    assert (memory[offset + program.image.size :] == 0xA5).all()
    assert driver.counters()["cycles"] == 2000
    layers = [layer["name"] for layer in program.manifest["layers"]]
    assert list(driver.layer_counters()) == layers


def test_above_four_gibibytes(tmp_path):
    """Both halves of every address matter."""
    model, shape = build("flatten")
    inputs, base = {"x": random_input(shape)}, 0x9_4000_0000
    wide = kiwicha.PRESETS["tiny"].replace(name="wide", axi_address_width=40)
    program, expected = written(model, tmp_path, inputs, wide)
    memory = np.full(program.image.size, 0xA5, np.uint8)
    driver = Driver(FakePort(FakeMachine(wide, memory, base)))
    driver.load(program)
    same(driver.run(inputs), expected)


def test_the_counters_of_layers(made):
    program, _, inputs = made
    port = fake(program)
    driver = Driver(port)
    driver.load(program)
    driver.run(inputs)
    place = program.manifest["layers"][1]
    record = np.arange(16, dtype="<u4") + 5
    start = place["counters"]
    port.machine.memory[start : start + 64] = record.view(np.uint8)
    found = driver.layer_counters()[place["name"]]
    assert found["cycles"] == 5 + (6 << 32)
    assert (found["read_beats"], found["steps"]) == (7, 19)


def test_the_sequence_is_that_of_simulations(made):
    program, *_ = made
    config = machine_of(program)
    found = start_registers(program.program, program.read_window, program.write_window)
    simulated = dict(setup_writes(
        config, program.program, program.read_window, program.write_window
    ))
    assert simulated.items() - found.items() == {(0x06C, 1 << 20)}  # the watchdog
    more = {o: v for o, v in found.items() if o not in simulated}
    assert {o: v for o, v in more.items() if v} == {0x068: 3}


@pytest.mark.parametrize(("changes", "message"), [
    ({"identity": 0}, "no machine: the identity register reads 0x00000000, not 0x4b495749"),
    ({"version": 3 << 16}, "the machine has version 3 of the interface, this driver knows 2"),
])
def test_no_such_machine(changes, message, made):
    port = fake(made[0], changes=changes)
    with pytest.raises(DriverError) as caught:
        Driver(port)
    assert str(caught.value) == message
    assert not port.machine.writes


def test_what_is_refused_writes_nothing(made, tmp_path):
    program, _, inputs = made
    port = fake(program)
    driver = Driver(port)
    refusals = [
        (lambda: driver.start(inputs), "no program is loaded"),
        (driver.wait, "no program is loaded"),
        (lambda: driver.load(program, BASE + 4), "base 0x20000004 is no multiple of 8"),
        (lambda: driver.load(program, BASE - 4096), "before the memory at 0x20000000"),
        (lambda: driver.load(program, BASE + 16384), "8,192 short"),
    ]
    other, _ = written(build("flatten")[0], tmp_path, inputs, "small")
    refusals.append((
        lambda: driver.load(other),
        f"fingerprint {program.fingerprint:#010x}, model is for {other.fingerprint:#010x} (small)",
    ))
    for call, message in refusals:
        with pytest.raises(kiwicha.KiwichaError, match=r".") as caught:
            call()
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not port.machine.writes
    assert (port.machine.memory == 0xA5).all()
    driver.load(program)
    with pytest.raises(kiwicha.InputError, match="input 'x' is missing"):
        driver.start({})
    assert not port.machine.writes


def test_a_machine_that_runs_on(made):
    program, expected, inputs = made
    port = fake(program, busy_looks=None)
    driver = Driver(port)
    driver.load(program)
    driver.start(inputs)
    for call in (lambda: driver.load(program), lambda: driver.start(inputs)):
        with pytest.raises(DriverError, match="^a program runs, or is being stopped$"):
            call()
    with pytest.raises(DriverError, match=r"^no end and no error after 0\.01 s$"):
        driver.wait(0.01)
    assert port.waits
    port.machine.changes["status"] = 0x14
    with pytest.raises(DriverError, match="waits for a bus that does not answer, reset both$"):
        driver.wait(0)
    port.machine.changes.clear()
    driver.abort()
    with pytest.raises(DriverError, match="ABORTED: software asked") as caught:
        driver.wait()
    assert caught.value.code == ErrorCode.ABORTED
    port.machine.busy_looks = 2
    same(driver.run(inputs), expected)


def test_a_machine_that_stops(made):
    program, expected, inputs = made
    port = fake(program, stops=(ErrorCode.READ_WINDOW, 0x9_0000_0010))
    driver = Driver(port)
    driver.load(program)
    with pytest.raises(DriverError, match="READ_WINDOW at 0x900000010: a read outside") as caught:
        driver.run(inputs)
    assert (caught.value.code, caught.value.address) == (ErrorCode.READ_WINDOW, 0x9_0000_0010)
    same(driver.run(inputs), expected)


@pytest.mark.parametrize(("code", "address", "text"), [
    (2, 2, "ILLEGAL_FIELD of VECTOR: a field"), (8, 99, "SCRATCHPAD_RANGE of an unknown unit: an"),
    (10, 0, "WATCHDOG: no progress"), (12, 5, "MALFORMED_STREAM at byte 5 of the stream: compr"),
    (200, 16, "unknown error 200 at 0x10"),
])
def test_texts(code, address, text):
    assert error_text(code, address).startswith(f"the machine stopped: {text}")


# Ports -------------------------------------------------------------------------------------------


def test_mapped_registers_and_memory(tmp_path):
    """Words where they belong, at places that are no multiple of a page."""
    path = tmp_path / "mem"
    path.write_bytes(bytes(1 << 16))
    port = DevMem(0x3100, 0x8010, 4096, path)
    port.write32(0x40, 0x89ABCDEF)
    port.write(0x8020, b"kiwicha")
    data = path.read_bytes()
    assert data[0x3140:0x3144] == bytes.fromhex("efcdab89")
    assert data[0x8020:0x8027] == b"kiwicha"
    assert sum(map(bool, data)) == 11
    assert port.read32(0x40) == 0x89ABCDEF
    assert port.read(0x8021, 3) == b"iwi"
    assert port.wait(0.001)
    for address, size in ((0x800F, 1), (0x9010, 1), (0x8010, 4097)):
        with pytest.raises(DriverError, match=f"^memory {address:#x} to .* has 0x8010 to 0x9010$"):
            port.read(address, size)
        with pytest.raises(DriverError, match="the port has"):
            port.write(address, bytes(size))
    with pytest.raises(DriverError, match="no.such: No such file"):
        DevMem(0, 0, 4096, tmp_path / "no.such")
    with pytest.raises(DriverError, match="^/.*mem: "):
        DevMem(1 << 20, 0, 4096, path)


def test_a_network_in_mapped_memory(made, tmp_path):
    program, expected, inputs = made
    path, offset = tmp_path / "mem", 0x5000
    path.write_bytes(bytes(offset + program.image.size))
    memory = np.memmap(path, np.uint8, "r+")[offset:]
    machine = FakeMachine(machine_of(program), memory, offset)

    class Port(DevMem):
        read32, write32 = staticmethod(machine.read32), staticmethod(machine.write32)

    driver = Driver(Port(0, offset, program.image.size, path))
    driver.load(program)
    same(driver.run(inputs), expected)


def test_uio(tmp_path):
    """The registers in one file, memory in another; the interrupt over a pair of sockets."""
    import socket

    registers, memory = tmp_path / "uio0", tmp_path / "udmabuf0"
    registers.write_bytes(bytes(4096))
    memory.write_bytes(bytes(8192))
    port = UIO(registers, memory, BASE, 4096, offset=4096)
    port.write32(0x58, 7)
    port.write(BASE + 1, b"x")
    assert registers.read_bytes()[0x58] == 7
    assert memory.read_bytes()[4097] == ord("x")
    ours, kernel = socket.socketpair()
    with ours, kernel:
        port.events = ours.fileno()
        assert not port.wait(0.001)
        assert kernel.recv(8) == b"\1\0\0\0"
        kernel.send(b"\5\0\0\0")
        assert port.wait(1)
        assert kernel.recv(8) == b"\1\0\0\0"
        assert not port.wait(0.001)  # it was taken


@pytest.fixture
def pynq(monkeypatch, made):
    """PYNQ's own names, on a machine of ours."""
    calls = []

    class Buffer(np.ndarray):
        physical_address = BASE

        def flush(self):
            calls.append("flush")

        def invalidate(self):
            calls.append("invalidate")

    memory = np.full(made[0].image.size, 0xA5, np.uint8).view(Buffer)
    machine = FakeMachine(machine_of(made[0]), memory.view(np.ndarray), BASE)
    module = types.SimpleNamespace(
        Overlay=lambda path: types.SimpleNamespace(
            ip_dict={"kiwicha": {"phys_addr": 0x43C0_0000}, "dma": {"phys_addr": 0}}
        ),
        MMIO=lambda address, size: types.SimpleNamespace(
            read=machine.read32, write=machine.write32, place=(address, size)
        ),
        allocate=lambda shape, dtype: memory,
    )
    monkeypatch.setitem(__import__("sys").modules, "pynq", module)
    return calls


def test_pynq(pynq, made):
    program, expected, inputs = made
    port = Pynq("machine.bit", program.image.size, "kiwicha")
    assert port._registers.place == (0x43C0_0000, 4096)
    driver = Driver(port)
    driver.load(program)
    assert pynq == ["flush"]
    same(driver.run(inputs), expected)
    assert pynq[-1] == "invalidate"
    with pytest.raises(DriverError, match="^machine.bit: core . is not one of kiwicha, dma$"):
        Pynq("machine.bit", 4096)
    with pytest.raises(DriverError, match="the port has"):
        port.read(BASE - 1, 1)


def test_the_serial_link_is_a_port(made):
    """`HostLink`'s methods, without a wire."""
    program, expected, inputs = made
    inner = fake(program, spare=0)
    inner.machine.origin = inner.base = 0
    link = types.SimpleNamespace(
        identity=types.SimpleNamespace(memory_bytes=program.image.size),
        read_registers=lambda offset, count: [inner.read32(offset)],
        write_registers=lambda offset, values: inner.write32(offset, *values),
        read=inner.read, write=inner.write, wait=inner.wait,
    )
    driver = Driver(LinkPort(link))
    driver.load(program)
    same(driver.run(inputs), expected)
