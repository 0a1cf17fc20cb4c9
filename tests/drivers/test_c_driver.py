# SPDX-License-Identifier: Apache-2.0
"""The C driver, compiled for this computer, on a machine that computes what the golden one does."""

import ctypes
import shutil
import subprocess

import numpy as np
import pytest

import kiwicha
from kiwicha.compiler.graph.graph import HostDequantize, HostQuantize
from kiwicha.compiler.graph.layout import ROW_MAJOR
from kiwicha.compiler.graph.tensor import Tensor as Edge
from kiwicha.drivers import registers
from kiwicha.machine.isa import ErrorCode
from kiwicha.models.variants import build, random_input

from .c_driver import FOLDER, SOURCES, STRICT, U8P, CDriver, Memory, Tensor, compiled
from .fake_machine import FakeMachine
from .programs import machine_of

pytestmark = pytest.mark.cc

BASE = 0x1F00_0000


class Made:
    """A compiled network with the C driver, inputs, and what must come out."""

    def __init__(self, folder, model, inputs, machine):
        samples = len(next(iter(inputs.values())))
        kiwicha.write_program(model, folder, machine, samples=samples, c_source=True)
        self.inputs, self.program = inputs, kiwicha.load(folder)
        self.expected = kiwicha.run_golden(model, inputs, machine).outputs
        self.config = machine_of(self.program)
        self.library = compiled(folder, folder / "program.c")
        header = (folder / "program.h").read_text()
        (self.symbol,) = [
            w.rstrip(";") for w in header.split() if w.endswith("_program;")
        ]

    def start(self, idle=None, **options):
        size = self.program.image.size
        memory = np.full(size + 128, 0xA5, np.uint8)
        machine = FakeMachine(self.config, memory, BASE, **options)
        return machine, CDriver(self.library, self.symbol, machine, idle)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    model, shape = build("flatten")
    return Made(tmp_path_factory.mktemp("c"), model, {"x": random_input(shape)}, "tiny")


def loaded(made, **options):
    machine, driver = made.start(**options)
    assert driver.probe() == "OK"
    assert driver.load(machine.memory, BASE) == "OK"
    return machine, driver


def put(made, driver):
    for index in range(driver.program.input_count):
        tensor = driver.program.inputs[index]
        array = np.ascontiguousarray(made.inputs[tensor.name.decode()])
        pointer = array.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        quantize = driver.library.kiwicha_quantize
        quantize.restype = ctypes.c_bool
        assert quantize(ctypes.byref(driver.device), ctypes.byref(tensor), pointer)


def outputs(made, driver):
    found = {}
    for index in range(driver.program.output_count):
        tensor = driver.program.outputs[index]
        array = np.empty([tensor.shape[axis] for axis in range(tensor.rank)], np.float32)
        pointer = array.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        dequantize = driver.library.kiwicha_dequantize
        dequantize.restype = ctypes.c_bool
        assert dequantize(ctypes.byref(driver.device), ctypes.byref(tensor), pointer)
        found[tensor.name.decode()] = array
    return found


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
        found = outputs(made, driver)
        assert found.keys() == made.expected.keys()
        for key, array in made.expected.items():
            assert found[key].tobytes() == array.tobytes()
    assert (machine.memory[size:] == 0xA5).all()
    assert not machine.interrupt


def hard_values(scale, seed):
    """Halves, what is no number, what overflows, and numbers of any size."""
    rng = np.random.default_rng(abs(seed))
    halves = (np.arange(-600, 600) / np.float32(2)).astype(np.float32) * scale
    bits = rng.integers(0, 1 << 32, 4096, np.uint32).view(np.float32)
    bits[np.isnan(bits)] = np.nan  # none that signals
    edge = np.float32([0, -0.0, np.inf, -np.inf, np.nan, 2.0**31, -(2.0**31), 3e38, -3e38, 1e-45])
    around = np.nextafter(halves, np.float32(np.inf)), np.nextafter(halves, np.float32(-np.inf))
    return np.concatenate([halves, *around, edge, edge * scale, bits]).astype(np.float32)


@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize(("dtype", "zero"), [
    ("int8", 0), ("int8", -128), ("int8", 127), ("uint8", 0), ("uint8", 255), ("uint8", 113),
])
@pytest.mark.parametrize("scale", [1.0, 0.0039215689, 3.7e-20])
def test_every_kind_of_number(dtype, zero, scale, away, made):
    """As the compiler's own edges have it, bit for bit, and back."""
    scale = np.float32(scale)
    with np.errstate(over="ignore"):
        values = hard_values(scale, zero)
    kind = np.dtype(dtype)
    edge = HostQuantize("q", "x", ROW_MAJOR, Edge("t", values.shape, kind, scale, zero), away)
    expected = edge(values)
    _, driver = made.start()
    memory = np.full(values.size, 0xA5, np.uint8)
    driver.device.memory = Memory(memory.ctypes.data_as(U8P), 0, memory.size)
    shape, strides = (ctypes.c_uint32 * 1)(values.size), (ctypes.c_uint32 * 1)(1)
    tensor = Tensor(b"t", 0, values.size, 2 if away else 1, dtype == "int8", scale, zero, 1, shape,
                    strides)
    device, floats = ctypes.byref(driver.device), ctypes.POINTER(ctypes.c_float)
    assert driver.library.kiwicha_quantize(
        device, ctypes.byref(tensor), values.ctypes.data_as(floats)
    )
    np.testing.assert_array_equal(memory.view(kind), expected)
    back = np.empty(values.size, np.float32)
    assert driver.library.kiwicha_dequantize(
        device, ctypes.byref(tensor), back.ctypes.data_as(floats)
    )
    right = HostDequantize("d", edge.tensor, "y")(expected)
    assert back.tobytes() == right.tobytes()


def test_tensors_that_are_no_affine_codes(made):
    _, driver = made.start()
    tensor = driver.program.inputs[0]
    values = (ctypes.c_float * tensor.bytes)()
    for kind in (0, 3, 4, 5):
        other = Tensor.from_buffer_copy(tensor)
        other.kind = kind
        for name in ("quantize", "dequantize"):
            function = getattr(driver.library, f"kiwicha_{name}")
            function.restype = ctypes.c_bool
            assert not function(ctypes.byref(driver.device), ctypes.byref(other), values)


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
        np.testing.assert_array_equal(outputs(made, driver)[key], array)


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
        np.testing.assert_array_equal(outputs(made, driver)[key], array)


# Compilers ---------------------------------------------------------------------------------------

COMPILERS = {
    "cc": ("cc",), "gcc": ("gcc",), "clang": ("clang",),
    "32 bits": ("cc", "-m32", "-ffreestanding"), "C11": ("cc", "-std=c11"),
}


@pytest.mark.parametrize("name", COMPILERS)
def test_compiles_without_a_warning(name, made, tmp_path):
    command = COMPILERS[name]
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {command[0]}: run `sudo apt-get install {command[0]}`")
    for source in (*SOURCES, made.program.folder / "program.c"):
        for options in (("-O0",), ("-O2", "-ffreestanding")):
            subprocess.run(
                [command[0], *STRICT, *command[1:], *options, f"-I{FOLDER}", "-c", str(source),
                 "-o", str(tmp_path / "x.o")], check=True, timeout=60,
            )


def test_needs_no_library(made, tmp_path):
    """Freestanding: nothing is called but what is in it, and what a compiler may call itself."""
    done = subprocess.run(
        ["cc", "-std=c99", "-O2", "-ffreestanding", "-nostdlib", "-r", f"-I{FOLDER}",
         *map(str, SOURCES), "-o", str(tmp_path / "all.o")],
        check=True, timeout=60, capture_output=True,
    )
    assert not done.stderr
    done = subprocess.run(
        ["nm", "-u", str(tmp_path / "all.o")], check=True, timeout=60, capture_output=True,
        text=True,
    )
    assert set(done.stdout.split()) <= {"U", "memcpy", "memset", "memmove", "memcmp"}


def test_the_page_s_example_compiles(tmp_path):
    page = (FOLDER.parents[1] / "docs/drivers.md").read_text()
    (tmp_path / "page.c").write_text(page.split("```c\n")[1].split("```")[0])
    kiwicha.write_program("lenet5", tmp_path, "tiny", c_source=True)
    subprocess.run(
        ["cc", *STRICT, "-Wno-pedantic", "-Wno-unused-function", f"-I{FOLDER}", "-fsyntax-only",
         str(tmp_path / "page.c")], check=True, timeout=60,
    )


def test_undefined_behaviour(made, tmp_path):
    """Sanitized: a program that uses everything, on registers in its own memory."""
    source = tmp_path / "main.c"
    source.write_text(MAIN.replace("SYMBOL", made.symbol))
    command = ["cc", *STRICT, "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover",
               f"-I{FOLDER}", f"-I{made.program.folder}"]
    built = subprocess.run(
        [*command, *map(str, SOURCES), str(made.program.folder / "program.c"), str(source),
         "-o", str(tmp_path / "main")], check=False, timeout=120, capture_output=True, text=True,
    )
    if "libasan" in built.stderr or "-lasan" in built.stderr:
        pytest.skip("needs the sanitizers: run `sudo apt-get install libasan8 libubsan1`")
    assert built.returncode == 0, built.stderr
    done = subprocess.run(
        [str(tmp_path / "main")], check=False, timeout=60, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "the machine stopped: READ_WINDOW at 0x10: a read outside the granted " \
        "window; the bus did not see it\n"


MAIN = """\
#include <stdio.h>
#include <string.h>
#include "program.h"

static uint32_t registers[1024];
static uint8_t memory[1 << 20];
static float values[1 << 16];

int main(void)
{
    const kiwicha_port port = kiwicha_mmio((uintptr_t)registers);
    const kiwicha_memory place = {memory, 4096u, sizeof(memory)};
    const kiwicha_program *program = &SYMBOL;
    kiwicha_device device;
    kiwicha_counters counters;
    char text[200];

    registers[KIWICHA_IDENTITY_OFFSET / 4u] = KIWICHA_IDENTITY;
    registers[KIWICHA_VERSION_OFFSET / 4u] = KIWICHA_VERSION_MAJOR << 16;
    registers[KIWICHA_FINGERPRINT_OFFSET / 4u] = program->fingerprint;
    registers[KIWICHA_MEMORY_PORT_OFFSET / 4u] = (32u << 16) | 64u;
    if (kiwicha_probe(&device, &port) != KIWICHA_OK) { return 1; }
    if (kiwicha_load(&device, program, &place) != KIWICHA_OK) { return 2; }
    if (!kiwicha_quantize(&device, &program->inputs[0], values)) { return 3; }
    if (kiwicha_start(&device) != KIWICHA_OK) { return 4; }
    if (registers[KIWICHA_CONTROL_OFFSET / 4u] != KIWICHA_CONTROL_START_MASK) { return 5; }
    if (registers[KIWICHA_READ_BASE_LOW_OFFSET / 4u] != 4096u) { return 6; }
    registers[KIWICHA_INTERRUPT_STATUS_OFFSET / 4u] = 2u;
    registers[KIWICHA_ERROR_CODE_OFFSET / 4u] = KIWICHA_ERROR_READ_WINDOW;
    registers[KIWICHA_ERROR_ADDRESS_LOW_OFFSET / 4u] = 16u;
    if (kiwicha_wait(&device, 3u) != KIWICHA_STOPPED) { return 7; }
    if (!kiwicha_dequantize(&device, &program->outputs[0], values)) { return 8; }
    kiwicha_read_counters(&device, &counters);
    kiwicha_layer_counters(&device, &program->layers[0], &counters);
    (void)kiwicha_error_text(&device, KIWICHA_STOPPED, text, sizeof(text));
    (void)puts(text);
    return 0;
}
"""
