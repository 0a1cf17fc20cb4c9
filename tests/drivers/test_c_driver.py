# SPDX-License-Identifier: Apache-2.0
"""The C driver, compiled for this computer, on a machine that computes what the golden one does."""

import ctypes

import numpy as np
import pytest

import kiwicha
from kiwicha.drivers import registers
from kiwicha.drivers.sequence import start_registers
from kiwicha.machine.isa import ErrorCode
from kiwicha.models.variants import build, random_input

from .c_driver import CDriver
from .c_networks import BASE, Made, outputs, put
from .fake_machine import FakeMachine

pytestmark = pytest.mark.cc

@pytest.fixture(scope="module")
def made(tmp_path_factory):
    model, shape = build("flatten")
    return Made(tmp_path_factory.mktemp("c"), model, {"x": random_input(shape)}, "tiny")


def loaded(made, **options):
    machine, driver = made.start(**options)
    assert driver.probe() == "OK"
    assert driver.load(machine.memory, BASE) == "OK"
    return machine, driver


NETWORKS = {"flatten": "tiny", "conv_strided": "small", "residual": None, "lenet5": "tiny"}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name, tmp_path):
    if name == "lenet5":
        model = kiwicha.load_model(name)
        inputs = {"image": model.test_inputs()["image"][:2]}
    else:
        model, shape = build(name)
        inputs = {"x": random_input(shape)}
    made = Made(tmp_path, model, inputs, NETWORKS[name])
    machine, driver = loaded(made)
    assert driver.program.relocation_count == made.program.relocations.size
    size = made.program.image.size
    np.testing.assert_array_equal(machine.memory[:size], made.program.relocate(BASE))
    for _ in range(2):  # a program may be run again
        put(made, driver)
        for address, octets in made.program.pack(inputs):
            assert machine.memory[address : address + len(octets)].tobytes() == octets
        assert driver.call("run", 10) == "OK"
        found = outputs(driver)
        assert found.keys() == made.expected.keys()
        for key, array in made.expected.items():
            assert found[key].tobytes() == array.tobytes()
    assert (machine.memory[size:] == 0xA5).all()
    assert not machine.interrupt


def test_the_sequence_is_that_of_the_other_driver(made):
    machine, driver = loaded(made)
    assert not machine.writes
    assert driver.call("start") == "OK"
    program = made.program
    expected = start_registers(program.program, program.read_window, program.write_window, BASE)
    assert machine.writes[-1] == (registers.CONTROL_OFFSET, 1)
    assert len(machine.writes) == len(expected) + 1
    assert dict(machine.writes[:-1]) == expected


def test_addresses_of_any_width(made):
    machine, driver = made.start(changes={"memory_port": 0xFF << 16})
    assert driver.probe() == "OK"
    assert driver.load(machine.memory, (1 << 63) - 64) == "OUT_OF_REACH"
    assert driver.load(machine.memory, BASE) == "OK"


def test_above_four_gibibytes(tmp_path):
    """Both halves of every address matter."""
    model, shape = build("flatten")
    wide = kiwicha.PRESETS["tiny"].replace(name="wide", axi_address_width=40)
    made = Made(tmp_path, model, {"x": random_input(shape)}, wide)
    base = 0x9_4000_0000
    memory = np.full(made.program.image.size, 0xA5, np.uint8)
    driver = CDriver(made.library, made.symbol, FakeMachine(wide, memory, base))
    assert driver.probe() == "OK"
    assert driver.load(memory, base) == "OK"
    np.testing.assert_array_equal(memory, made.program.relocate(base))
    put(made, driver)
    assert driver.call("run", 10) == "OK"
    for key, array in made.expected.items():
        np.testing.assert_array_equal(outputs(driver)[key], array)


def test_caches(made):
    machine, driver = loaded(made)
    address, program = machine.memory.ctypes.data, made.program
    assert driver.flushed == [(address, program.image.size)]
    assert driver.call("start") == "OK"
    changing = driver.program.tensor_bytes
    assert driver.flushed[1:] == [(address, changing)]
    assert not driver.invalidated
    assert driver.call("wait", 10) == "OK"
    assert driver.invalidated == [(address, changing)]
    for described in program.manifest["inputs"]:
        tensor = described["tensors"][0]["tensor"]
        assert tensor["address"] + tensor["bytes"] <= changing
    assert program.write_window[1] <= changing < program.image.size


def test_counters(made):
    machine, driver = loaded(made)
    assert driver.call("run", 10) == "OK"
    counters = (ctypes.c_uint32 * len(registers.COUNTERS))()
    driver.library.kiwicha_read_counters(ctypes.byref(driver.device), counters)
    found = dict(zip(registers.COUNTERS, counters, strict=True))
    assert (found["cycles_low"], found["steps"]) == (1000, 17)
    record = np.arange(16, dtype="<u4") * 0x01020304
    layer = driver.program.layers[1]
    assert driver.program.layer_count == len(made.program.manifest["layers"])
    start = layer.counters
    assert start == made.program.manifest["layers"][1]["counters"]
    machine.memory[start : start + 64] = record.view(np.uint8)
    driver.library.kiwicha_layer_counters(
        ctypes.byref(driver.device), ctypes.byref(layer), counters
    )
    assert list(counters) == list(record[: len(counters)])


# Errors ------------------------------------------------------------------------------------------


def untouched(machine):
    """Nothing was started or written."""
    return not machine.writes and (machine.memory == 0xA5).all() and not machine.running


@pytest.mark.parametrize(("changes", "status", "text"), [
    ({"identity": 0xFFFFFFFF}, "NO_MACHINE",
     "no machine: the identity register reads 0xffffffff, not 0x4b495749"),
    ({"version": 0x00030001}, "WRONG_VERSION",
     "the machine has version 3 of the interface, driver or program version 2"),
])
def test_no_such_machine(changes, status, text, made):
    machine, driver = made.start(changes=changes)
    assert driver.probe() == status
    assert driver.text(status) == text
    assert driver.call("start") == driver.call("wait", 1) == "NOT_LOADED"
    assert untouched(machine)


def change(**fields):
    def apply(driver):
        for name, value in fields.items():
            setattr(driver.program, name, value)
    return apply


REFUSED = {
    "another machine": (
        change(fingerprint=0x1234), {}, "WRONG_MACHINE",
        "the machine has fingerprint {fingerprint:#010x}, the program is for 0x00001234",
    ),
    "another version": (
        change(version_major=1), {}, "WRONG_VERSION",
        "the machine has version 2 of the interface, driver or program version 1",
    ),
    "misaligned": (
        None, {"base": BASE + 4}, "MISALIGNED",
        "base 0x1f000004 is no multiple of 8, the bytes of a beat",
    ),
    "too little memory": (
        None, {"size": 1000}, "MEMORY_SHORT",
        "the program needs {bytes} bytes of memory, there are 1000: {short} short",
    ),
    "beyond the addresses": (
        None, {"base": 0xFFFF_FFF8}, "OUT_OF_REACH",
        "memory from 0xfffffff8 on ends beyond 0xfffffff8, the last address that can be granted",
    ),
    "far beyond": (
        None, {"base": 1 << 40}, "OUT_OF_REACH",
        "memory from 0x10000000000 on ends beyond 0xfffffff8, the last address that can be granted",
    ),
    **{
        f"broken {name}": (
            change(**{name: value}), {}, "BROKEN_PROGRAM",
            "the program is broken: its parts do not fit its memory",
        )
        for name, value in {
            "image_bytes": 0xFFFF_FFFF, "image_offset": 0xFFFF_FFF0, "program_address": 1 << 30,
            "tensor_bytes": 1 << 30, "alignment": 0,
        }.items()
    },
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_anything_is_written(name, made):
    apply, options, status, text = REFUSED[name]
    machine, driver = made.start()
    assert driver.probe() == "OK"
    if apply:
        apply(driver)
    assert driver.load(machine.memory, **{"base": BASE, **options}) == status
    size = made.program.image.size
    assert driver.text(status) == text.format(
        fingerprint=made.config.fingerprint, bytes=size, short=size - 1000
    )
    assert driver.call("start") == "NOT_LOADED"
    assert driver.text("NOT_LOADED") == "no program is loaded"
    assert untouched(machine)


def test_a_relocation_outside_the_image(made):
    machine, driver = made.start()
    assert driver.probe() == "OK"
    program = driver.program
    for place in (program.memory_bytes - 4, program.image_offset - 8, 0xFFFF_FFFC):
        program.relocations, program.relocation_count = (ctypes.c_uint32 * 1)(place), 1
        assert driver.load(machine.memory, BASE) == "BROKEN_PROGRAM"
    assert untouched(machine)


def test_a_machine_that_runs(made):
    machine, driver = loaded(made, busy_looks=None)
    assert driver.call("start") == "OK"
    written = len(machine.writes)
    assert driver.call("start") == driver.load(machine.memory, BASE) == "BUSY"
    assert driver.text("BUSY") == "a program runs, or is being stopped"
    assert len(machine.writes) == written
    assert driver.call("wait", 5) == "TIMEOUT"
    assert driver.text("TIMEOUT") == "the machine has neither ended nor stopped after 5 looks"
    machine.changes["status"] = 0x14
    assert driver.call("wait", 1) == "TIMEOUT"
    assert driver.text("TIMEOUT").endswith("waits for a bus that does not answer, reset both")
    machine.changes.clear()
    driver.library.kiwicha_abort(ctypes.byref(driver.device))
    assert driver.call("wait", 1) == "STOPPED"
    text = "the machine stopped: ABORTED: software asked the machine to stop"
    assert driver.text("STOPPED") == text
    machine.busy_looks = 1
    assert driver.call("run", 5) == "OK"


STOPPED = {
    (ErrorCode.READ_WINDOW, 0x9_1F00_0040): "READ_WINDOW at 0x91f000040: a read outside",
    (ErrorCode.ILLEGAL_FIELD, 2): "ILLEGAL_FIELD of VECTOR: a field",
    (ErrorCode.ILLEGAL_FIELD, 7): "ILLEGAL_FIELD of FETCH: a field",
    (ErrorCode.SCRATCHPAD_RANGE, 99): "SCRATCHPAD_RANGE of an unknown unit: ",
    (ErrorCode.MALFORMED_STREAM, 1234): "MALFORMED_STREAM at byte 1234 of the stream: compressed",
    (ErrorCode.WATCHDOG, 0): "WATCHDOG: no progress for",
    (200, 16): "unknown error 200 at 0x10",
}


@pytest.mark.parametrize("error", STOPPED, ids=str)
def test_a_machine_that_stops(error, made):
    machine, driver = loaded(made, stops=error)
    assert driver.call("run", 10) == "STOPPED"
    assert driver.text("STOPPED").startswith(f"the machine stopped: {STOPPED[error]}")
    assert (driver.device.error_code, driver.device.error_address) == (int(error[0]), error[1])
    name = driver.library.kiwicha_error_name
    name.restype = ctypes.c_char_p
    known = error[0].name if isinstance(error[0], ErrorCode) else "unknown"
    assert name(int(error[0])).decode() == known
    put(made, driver)
    assert driver.call("run", 10) == "OK"  # the next start clears it
    for key, array in made.expected.items():
        np.testing.assert_array_equal(outputs(driver)[key], array)


def test_texts_are_cut(made):
    _, driver = made.start()
    whole = driver.text("BUSY")
    for size in (0, 1, 2, 9, len(whole), len(whole) + 1):
        assert driver.text("BUSY", size) == whole[: max(size - 1, 0)]
    assert driver.text("OK") == "no error"


def test_interrupts(made):
    """A handler that runs while the driver sleeps, and takes the interrupt away from it."""
    slept = []

    def idle():
        slept.append(1)
        driver.library.kiwicha_acknowledge(ctypes.byref(driver.device))

    machine, driver = loaded(made, idle=idle, busy_looks=4)
    put(made, driver)
    assert driver.call("run", 10) == "OK"
    assert slept
    assert not machine.interrupt
    for key, array in made.expected.items():
        np.testing.assert_array_equal(outputs(driver)[key], array)
