# SPDX-License-Identifier: Apache-2.0
"""Signals have the names that the source gives them, whatever bytecode a Python makes of it."""

import subprocess
import sys
import textwrap
from unittest.mock import patch

import pytest
from amaranth import tracer
from amaranth.hdl import Signal
from amaranth.lib import stream
from amaranth.lib.memory import Memory

from kiwicha import hw
from kiwicha.hw.verilog import naming
from kiwicha.hw.verilog.naming import named_calls


class Holder:
    """Something to assign to."""


def test_assignments():
    plain = Signal(3)
    first, second = Signal(), Signal(8)
    annotated: Signal = Signal()
    # The next statement reads what this one stores: Python 3.13 makes one instruction of both.
    stored = Signal()
    again = stored
    holder = Holder()
    holder.attribute, (inner, _) = Signal(), (Signal(), 0)
    holder.chained = chained = Signal()
    either = Signal() if plain is not None else plain
    lengthy = Signal(
        8, init=max(
            1, 2,
        ),
    )
    if (walrus := Signal.like(plain)) is not None:
        pass
    ä, after = Signal(), Signal()  # columns are counted in bytes
    for signal, name in (
        (plain, "plain"), (first, "first"), (second, "second"), (annotated, "annotated"),
        (again, "stored"), (holder.attribute, "attribute"), (inner, "inner"),
        (chained, "chained"), (either, "either"), (lengthy, "lengthy"), (walrus, "walrus"),
        (ä, "ä"), (after, "after"),
    ):
        assert signal.name == name


def test_interfaces():
    memory = Memory(shape=8, depth=4, init=[])
    write, read = memory.write_port(), memory.read_port()
    assert (write.addr.name, read.data.name) == ("write__addr", "read__data")
    flow = stream.Signature(8).create()
    assert flow.valid.name == "flow__valid"


def test_what_has_no_name():
    one, two = (Signal() for _ in range(2))
    listed = [Signal() for _ in range(2)]
    table = {}
    table["key"] = Signal()
    *rest, last = Signal(), Signal()
    argument = str(Signal()).split()[1]
    for signal in (one, two, *listed, table["key"], *rest, last, *map(Signal, [1])):
        assert signal.name.startswith("$signal")
    assert argument.startswith("$signal")
    with pytest.raises(tracer.NameNotFound):
        str(tracer.get_var_name(depth=1))


def test_every_call_is_told_apart():
    source = "a, b = f(g(1)), f()\nc = f()(2)\nd = e = f()\nx.y = f() if g() else h()\nz[0] = f()\n"
    assert named_calls(source) == {
        (1, 14): "a", (1, 19): "b", (2, 10): "c", (3, 11): "d", (4, 9): "y", (4, 25): "y",
    }


def test_importing_any_hardware_is_enough():
    assert tracer.get_var_name.__module__ == "kiwicha.hw.verilog.naming"
    assert hw.install is not None


def test_without_source_amaranth_looks_itself():
    """It finds a name on some Pythons."""
    names = []
    for function in (naming._from_bytecode, tracer.get_var_name):
        space = {"Signal": Signal}
        with patch.object(tracer, "get_var_name", function):
            exec("simple = Signal()\n", space)
        names.append(space["simple"].name)
    assert names[0] == names[1]
    assert names[0] in ("simple", "$signal")


def test_compiled_without_positions(tmp_path):
    (tmp_path / "unit.py").write_text(textwrap.dedent("""
        from kiwicha import hw
        from amaranth.hdl import Signal
        plain = Signal()
    """))
    command = [sys.executable, "-X", "no_debug_ranges", "-c", "import unit"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode
    assert "unset PYTHONNODEBUGRANGES and remove __pycache__" in done.stderr.splitlines()[-1]
