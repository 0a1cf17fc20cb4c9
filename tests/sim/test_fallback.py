# SPDX-License-Identifier: Apache-2.0
"""--host-fallback: nodes that the machine cannot run, run by ONNX Runtime between programs."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import kiwicha
from kiwicha.cli.main import main
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.frontend.session import open_session
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import ModelError, UnsupportedModel
from kiwicha.report.report import Report
from kiwicha.sim.fallback import golden_fallback
from kiwicha.sim.partition import MachineStage, partition

from ..compiler.onnx_models import dq, model, node, q, scales

U8, S8 = np.uint8, np.int8
RANDOM = np.random.default_rng(4)
CONSTANTS = scales(
    x=(0.03, U8(120)), w=(0.1, S8(0)), y=(0.02, U8(99)), h=(0.004, U8(0)), z=(0.04, U8(100)),
) | {
    "V": RANDOM.integers(-9, 9, (6, 6)).astype(S8), "W": RANDOM.integers(-9, 9, (6, 6)).astype(S8),
    "table": RANDOM.standard_normal((5, 6)).astype(np.float32), "half": np.float32(0.5),
}
IN, OUT = [q("x", "xq", "x"), dq("xq", "xf", "x")], [dq("yq", "y", "y")]


def linear(source, target, weights="W"):
    """A quantized product, named like its result; dequantized as <target>f."""
    return [
        dq(weights, f"{target}w", "w"),
        node("MatMul", [source, f"{target}w"], [f"{target}m"], name=target),
        q(f"{target}m", f"{target}q", "y"), dq(f"{target}q", f"{target}f", "y"),
    ]


def hard(source, target):
    """An operator that no machine has, quantized; dequantized as <target>f."""
    return [
        node("Hardmax", [source], [f"{target}h"], axis=1, name=target),
        q(f"{target}h", f"{target}q", "h"), dq(f"{target}q", f"{target}f", "h"),
    ]


def end(source):
    return [node("Identity", [source], ["y"], name="end")]


#: nodes, and the stages that they become: names of what is in each, of the host's behind a colon.
MODELS = {
    "in the middle": (
        [*IN, *linear("xf", "a"), *hard("af", "h"), *linear("hf", "b"), *end("bf")],
        ["a", ":h", "b"]),
    "at the beginning": (
        [node("Hardmax", ["x"], ["xh"], axis=1, name="h"), q("xh", "xq", "h"),
         dq("xq", "xf", "h"), *linear("xf", "a"), *end("af")],
        [":h", "a"]),
    "at the end": (
        [*IN, *linear("xf", "a"), node("Hardmax", ["af"], ["y"], axis=1, name="h")], ["a", ":h"]),
    "two of them": (
        [*IN, *linear("xf", "a"), *hard("af", "h"), *linear("hf", "b"), *hard("bf", "i"),
         *linear("if", "c"), *end("cf")],
        ["a", ":h", "b", ":i", "c"]),
    "two in a row": (
        [*IN, *linear("xf", "a"), *hard("af", "h"), *hard("hf", "i"), *linear("if", "c"),
         *end("cf")],
        ["a", ":h,i", "c"]),
    "a branch around it": (
        [*IN, *linear("xf", "a"), *hard("af", "h"), *linear("af", "b", "V"), *linear("hf", "c"),
         node("Add", ["bf", "cf"], ["s"], name="sum"), q("s", "sq", "z"), dq("sq", "y", "z")],
        ["a,b", ":h", "c,sum"]),
    "float in between": (
        [*IN, *linear("xf", "a"), node("Hardmax", ["af"], ["p"], axis=1, name="h"),
         node("Sqrt", ["p"], ["r"], name="root"), q("r", "rq", "h"), dq("rq", "rf", "h"),
         *linear("rf", "b"), *end("bf")],
        ["a", ":h", "root,b"]),
}


def built(nodes, **rest):
    return model(nodes, CONSTANTS, {"x": [3, 6]}, **rest)


def told(plan):
    """Return the stages as `MODELS` has them, without quantization, views and casts."""
    found = []
    for stage in plan.stages:
        part = stage.stage if isinstance(stage, MachineStage) else stage
        names = [n.name for n in part.nodes if n.op_type not in
                 ("QuantizeLinear", "DequantizeLinear", "Identity")]
        found.append(":" * part.on_host + ",".join(names))
    return found


@pytest.mark.parametrize("name", MODELS)
def test_a_model_in_stages(name):
    nodes, stages = MODELS[name]
    made = built(nodes)
    with pytest.raises(UnsupportedModel):
        legalize(lower(made))
    plan = partition(made, None)
    assert told(plan) == stages
    run = golden_fallback(made, None, seed=3)
    assert (run.whole, run.differ, run.wrong) == (True, 0, 0)
    assert not any(program.wrong for program in run.programs)
    x = np.random.default_rng(3).standard_normal((3, 6)).astype(np.float32)
    (expected,) = open_session(made, (), optimized=True).run(None, {"x": x})
    assert expected.any()
    np.testing.assert_array_equal(run.outputs["y"], expected)
    on_host = {row.name for row in run.host if row.op not in ("QuantizeLinear", "DequantizeLinear")}
    assert on_host == {n for s in stages if s[0] == ":" for n in s[1:].split(",")}
    assert sum(row.share for row in run.host) == pytest.approx(1)


def test_codes_pass_where_there_are_codes():
    """A float tensor of the model goes from stage to stage as the bytes it was quantized to."""
    plan = partition(built(MODELS["in the middle"][0]), None)
    first, host, second = plan.stages
    assert (first.stage.outputs, host.inputs) == (("aq",), ("aq",))
    assert host.outputs == second.stage.inputs == ("hh",)  # quantized by the host, as any input
    row = next(row for row in golden_fallback(built(MODELS["in the middle"][0]), None).host
               if row.name == "d_af")
    assert (row.bytes_read, row.bytes_written) == (18 + 4 + 1, 18 * 4)


def test_what_the_machine_has_is_not_on_the_host():
    made = built([*IN, *linear("xf", "a"), *end("af")])
    run = golden_fallback(made, kiwicha.preset("tiny"))
    assert not run.host
    assert len(run.programs) == 1


def test_nothing_for_the_machine():
    run = golden_fallback(built([*IN, node("Hardmax", ["xf"], ["y"], axis=1, name="h")]), None)
    assert not run.programs
    assert run.differ == 0
    assert {row.name: row.reason for row in run.host}["h"] == "the machine has no such operation"


def test_indices_as_inputs():
    """An embedding: int64 is the host's."""
    nodes = [node("Gather", ["table", "i"], ["e"], name="embed"), q("e", "xq", "x"),
             dq("xq", "xf", "x"), *linear("xf", "a"), *end("af")]
    made = model(nodes, CONSTANTS, {"i": [3]}, types={"i": TensorProto.INT64})
    run = golden_fallback(made, None, {"i": np.array([4, 0, 2])})
    assert told(run.plan) == [":embed", "a"]
    assert run.differ == 0
    assert golden_fallback(made, None).differ == 0  # random ones are legal


def test_a_loop_reads_from_outside():
    """If takes what its branches read from the graph around them."""
    branches = [
        helper.make_graph([helper.make_node(kind, ["af"], [f"o{kind}"])], kind, [], [
            helper.make_tensor_value_info(f"o{kind}", TensorProto.FLOAT, [3, 6])
        ]) for kind in ("Neg", "Abs")
    ]
    nodes = [*IN, *linear("xf", "a"), node("ReduceSum", ["af"], ["total"], keepdims=0, name="sum"),
             node("Greater", ["total", "half"], ["yes"], name="test"),
             node("If", ["yes"], ["c"], then_branch=branches[0], else_branch=branches[1],
                  name="if"), q("c", "cq", "y"), dq("cq", "cf", "y"), *linear("cf", "b"),
             *end("bf")]
    run = golden_fallback(built(nodes), None)
    assert told(run.plan)[-1] == "b"
    assert run.differ == 0


def test_shapes_that_only_running_tells():
    """As many results as there are positive elements; two stages of the host apart."""
    nodes = [*IN, *linear("xf", "a"), node("Greater", ["x", "half"], ["m"], name="mask"),
             node("NonZero", ["m"], ["n"], name="n"), *hard("af", "h"), *linear("hf", "b"),
             node("Hardmax", ["bf"], ["i"], axis=1, name="i"),
             node("Transpose", ["n"], ["t"], perm=[1, 0], name="t"),
             node("GatherND", ["i", "t"], ["y"], name="taken")]
    run = golden_fallback(built(nodes), None)
    assert told(run.plan) == ["a", ":mask,n,h,t", "b", ":i,taken"]
    assert run.differ == 0


def test_what_is_no_number():
    """The host's roots of negative numbers, quantized: the lowest code, as with ONNX Runtime."""
    nodes = [node("Sqrt", ["x"], ["h"], name="root"), node("Hardmax", ["h"], ["o"], name="one"),
             node("Add", ["h", "o"], ["r"], name="sum"), q("r", "xq", "x"),
             dq("xq", "xf", "x"), *linear("xf", "a"), *end("af")]
    x = np.random.default_rng(1).standard_normal((3, 6)).astype(np.float32)
    run = golden_fallback(built(nodes), None, {"x": x})
    assert told(run.plan) == [":root,one,sum", "a"]
    assert (run.differ, run.wrong) == (0, 0)


def test_a_wrong_cut_is_found(monkeypatch):
    """A plan whose part for the host is another than the model's."""
    made = built(MODELS["in the middle"][0])
    plan = partition(made, None)
    (hard_node,) = (n for n in plan.stages[1].model.graph.node if n.op_type == "Hardmax")
    hard_node.attribute[0].i = 0
    monkeypatch.setattr("kiwicha.sim.fallback.partition", lambda *_: plan)
    run = golden_fallback(made, None)
    assert run.wrong
    assert not any(program.wrong for program in run.programs)


def test_float_models_stay_refused():
    made = model([node("Hardmax", ["x"], ["y"], axis=1)], {}, {"x": [3, 6]})
    with pytest.raises(ModelError, match="is a float model"):
        golden_fallback(made, None)


def test_nodes_of_one_name():
    nodes = MODELS["two of them"][0]
    same = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    for each in same:
        if each.op_type == "Hardmax":
            each.name = "h"
    assert told(partition(built(same), None)) == ["a", ":h", "b", ":h/2", "c"]


def test_a_machine_that_is_given_is_kept():
    made = built([*IN, *hard("xf", "h"), node("Sigmoid", ["hf"], ["s"], name="s"),
                  q("s", "sq", "h"), dq("sq", "y", "h")])
    with pytest.raises(kiwicha.UnfitMachine, match=r"special\.lanes is 0"):
        partition(made, kiwicha.preset("tiny"))
    assert partition(made, None).config.special.lanes


def test_simulated_and_reported(tmp_path, capfd):
    """Two programs and the host, from the command line; every byte as the golden machine's."""
    path, report = tmp_path / "m.onnx", tmp_path / "report.json"
    onnx.save(built(MODELS["in the middle"][0]), path)
    assert main(["sim", str(path), "--preset", "tiny"]) == 2
    command = ["sim", str(path), "--host-fallback", "--preset", "tiny"]
    assert main([*command, "--report", str(report)]) == 0
    out = capfd.readouterr().out
    assert "on the host, by ONNX Runtime, seconds of this computer" in out
    assert "every bit equal" in out
    values = json.loads(report.read_text())
    assert [layer["name"] for layer in values["layers"]] == ["a", "b"]
    assert [(row["name"], row["where"]) for row in values["host"]] == [
        ("d_af", "host"), ("h", "host")]
    assert values["cycles"] == sum(layer["cycles"] for layer in values["layers"])
    read = Report.from_dict(values)
    assert read.host[1].seconds > 0
    assert read.exact
    old = {name: value for name, value in values.items() if name != "host"}
    assert Report.from_dict(old).host == ()


def test_predicted(tmp_path, capfd):
    path = tmp_path / "m.onnx"
    onnx.save(built(MODELS["two of them"][0]), path)
    assert main(["sim", str(path), "--host-fallback", "--predict"]) == 0
    out = capfd.readouterr().out
    assert "on the host, by ONNX Runtime" in out
    assert "seconds of this computer" not in out
    made = kiwicha.compile_model(path, "tiny", host_fallback=True)
    assert [layer.name for layer in made.layers] == ["a", "b", "c"]
    assert made.cycles == sum(layer.cycles for layer in made.layers)
    assert all(row.seconds is None for row in made.prediction.host)


def test_written(tmp_path):
    path, out = tmp_path / "m.onnx", tmp_path / "out"
    onnx.save(built(MODELS["in the middle"][0]), path)
    assert main(["compile", str(path), "--host-fallback", "--out", str(out)]) == 0
    plan = json.loads((out / "plan.json").read_text())
    assert [(s["kind"], s["inputs"], s["outputs"]) for s in plan["stages"]] == [
        ("program", ["x"], ["aq"]), ("host", ["aq"], ["hh"]), ("program", ["hh"], ["y"])]
    for stage in plan["stages"]:
        assert (out / stage["file"]).is_file()
    onnxruntime.InferenceSession(str(out / plan["stages"][1]["file"]))
    program = json.loads((out / plan["stages"][0]["file"]).read_text())
    assert program["outputs"][0]["name"] == "aq"


@pytest.mark.parametrize("asked", [{"blocks": ["a"]}, {"statistics": ["a"]}])
def test_what_cannot_be_asked(asked):
    with pytest.raises(kiwicha.InputError, match="not together with host_fallback"):
        kiwicha.simulate(built(MODELS["in the middle"][0]), host_fallback=True, **asked)


def test_a_wrong_bit_is_found(monkeypatch):
    """Whatever a program makes of its inputs reaches the comparison with the whole model."""
    run = kiwicha.run_golden(built(MODELS["in the middle"][0]), host_fallback=True)
    assert run.exact
    monkeypatch.setattr(
        "kiwicha.sim.fallback.run_host",
        lambda stage, plan, values: ({name: np.zeros((3, 6), np.float32) for name in
                                      stage.outputs}, {}),
    )
    run = kiwicha.run_golden(built(MODELS["in the middle"][0]), host_fallback=True)
    assert not run.exact
    assert "differ from ONNX Runtime's" in run.verdict[0]
