# SPDX-License-Identifier: Apache-2.0
"""The C driver's sources: no warning, nothing undefined, and the page's example."""

import shutil
import subprocess

import pytest

import kiwicha
from kiwicha.models.variants import build, random_input

from .c_driver import FOLDER, SOURCES, STRICT
from .c_networks import Made

pytestmark = pytest.mark.cc


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    model, shape = build("flatten")
    return Made(tmp_path_factory.mktemp("c"), model, {"x": random_input(shape)}, "tiny")


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
