# SPDX-License-Identifier: Apache-2.0
"""The Verilog of whole machines: structure that synthesis depends on, and Verilator's warnings."""

import pytest

from kiwicha.machine.presets import preset
from kiwicha.sim.hardware import accelerator_verilog

from .support.lint import EXCEPTIONS, warnings
from .support.netlist import assert_verilog_structure

TINY = preset("tiny")
#: Little of everything that a machine can have.
FULL = TINY.replace(
    name="structural", rows=2, columns=8, requantize_lanes=2, transposer=True,
    sparse={"formats": ("bitmask", "csc5"), "entries": 2},
    special={"lanes": 1, "bytes": 256, "entries": 256}, dynamic=True,
    blocks={"channels": 16, "rounding": "lfsr"}, queue_words=16, pipeline=(),
    real={"bytes": 512, "functions": True}, pooling={"window": 2},
)
MACHINES = pytest.mark.parametrize("config", [TINY, FULL], ids=lambda config: config.name)

REGISTER = "output reg q); always @(posedge clk) q <= a; endmodule"
GOOD = f"module top(input clk, input a, {REGISTER}"

#: What is wrong -> (Verilog, what Yosys says).
BROKEN = {
    "a latch": (
        "module top(input clk, input a, output reg q); always @* if (clk) q = a; endmodule",
        "latch",
    ),
    "an asynchronous reset": (
        "module top(input clk, input rst, input a, output reg q); always @(posedge clk or posedge "
        "rst) if (rst) q <= 0; else q <= a; endmodule",
        "t:.adff",
    ),
    "two drivers": (
        "module top(input clk, input a, output q, output p); assign q = a & clk; "
        "assign q = a | clk; assign p = q; endmodule",
        "multiple conflicting drivers",
    ),
    "a combinational loop": (
        "module top(input clk, input a, output q); wire x; assign x = ~(q & a); "
        "assign q = x | a; endmodule",
        "logic loop",
    ),
    "an output without a driver": (
        f"module top(input clk, input a, output p, {REGISTER}",
        r"\\p is used but has no driver",
    ),
    "a register without an input": (
        f"module top(input clk, output q); wire a; child c(clk, a, q); endmodule\n"
        f"module child(input clk, input a, {REGISTER}",
        "used but has no driver",
    ),
    "a second clock": (
        f"module top(input clk, input b, input a, output reg p, {REGISTER}".replace(
            "endmodule", "always @(posedge b) p <= a; endmodule"
        ),
        "@clocked @right %d",
    ),
    "a gated clock": (
        "module top(input clk, input a, output reg q); wire g = clk & a; "
        "always @(posedge g) q <= a; endmodule",
        "@clocked @right %d",
    ),
    "a falling edge": (GOOD.replace("posedge", "negedge"), "CLK_POLARITY"),
    "no register": ("module top(input clk, input a, output q); assign q = a; endmodule", "clocked"),
}


@MACHINES
def test_structure_of_a_machine(config):
    assert_verilog_structure(accelerator_verilog(config).read_text(), "accelerator")


def test_structure_that_is_right():
    below = f"module top(input clk, input a, output q); child c(clk, a, q); endmodule\n{GOOD}"
    assert_verilog_structure(GOOD, "top")
    assert_verilog_structure(below.replace("module top(input clk, input a, output reg", "module "
                             "child(input clk, input a, output reg"), "top")


@pytest.mark.parametrize("what", BROKEN)
def test_structure_that_is_wrong(what):
    text, message = BROKEN[what]
    with pytest.raises(AssertionError, match=message):
        assert_verilog_structure(text, "top")


@MACHINES
def test_verilator_has_nothing_new_to_say(config):
    assert warnings(accelerator_verilog(config), "accelerator") == []


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("WIDTHTRUNC", "module top(input [3:0] a, output [2:0] q); assign q = a; endmodule"),
        ("UNDRIVEN", "module top(output q); wire w; assign q = w; endmodule"),
        ("LATCH", "module top(input e, input a, output reg q); always @* if (e) q = a; endmodule"),
        ("UNOPTFLAT", "module top(input a, output q); wire [1:0] w; assign w = {w[0] ^ a, w[1]};"
         " assign q = w[0]; endmodule"),
        ("PINMISSING", "module top(input a, output q); child c(.a(a)); assign q = a; endmodule\n"
         "module child(input a, output q); assign q = a; endmodule"),
    ],
)
def test_warning_without_an_exception_is_reported(tmp_path, code, text):
    file = tmp_path / "top.v"
    file.write_text(f"{text}\n")
    assert any(f"-{code}:" in line for line in warnings(file, "top"))


def test_every_exception_has_a_reason():
    assert all(len(exception.reason) > 20 for exception in EXCEPTIONS)
