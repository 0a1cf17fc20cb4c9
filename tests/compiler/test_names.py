# SPDX-License-Identifier: Apache-2.0
"""No name that the compiler makes up can meet one of the model's."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.frontend.names import Names, names_of
from kiwicha.compiler.ops.legalize import legalize

from .agree import agree
from .onnx_models import dq, model, node, q, scales

U8, S8, F32 = np.uint8, np.int8, np.float32
CONSTANTS = scales(
    x=(0.03, U8(120)), w=(0.02, S8(0)), a=(0.1, U8(130)), b=(0.043, U8(7)), c=(0.03, S8(2)),
    v=(0.02, U8(100)),
) | {
    "M": np.arange(-12, 12).reshape(6, 4).astype(S8), "half": F32(0.5), "low": F32(-0.33),
    "mask": np.eye(6, dtype=bool), "far": F32(-9), "six": np.arange(6, dtype=U8),
    "s6": np.array([3, 12]), "m_s": F32(0.1), "MU": np.ones((6, 4), U8),
}
START = [q("x", "xq", "x"), dq("xq", "xf", "x")]


def end(source, key="a"):
    return [q(source, "yq", key), dq("yq", "y", key)]


def gemm(**attributes):
    return [dq("M", "mf", "w"), node("Gemm", ["xf", "mf"], ["g"], name="fc", **attributes)]


#: What each of these makes a name for.
MODELS = {
    "a view behind a table": [*START, node("Tanh", ["xf"], ["t"]), node("Flatten", ["t"], ["f"]),
                              node("Transpose", ["f"], ["u"], name="turn"), *end("u")],
    "a view behind a requantization": [*START, node("Relu", ["xf"], ["r"]),
                                       node("Flatten", ["r"], ["f"], name="flat"),
                                       node("Reshape", ["f", "s6"], ["u"], name="shape"),
                                       *end("u", "b")],
    "a float chain of an input": [node("Relu", ["x"], ["r"]), *[q("r", "xq", "x")],
                                  dq("xq", "y", "x")],
    "a float chain into an output": [*START, node("Relu", ["xf"], ["r"]),
                                     node("Flatten", ["r"], ["y"])],
    "a transposed operand": [*START, *gemm(transA=1), *end("g")],
    "a mask": [*START, node("Where", ["mask", "xf", "far"], ["o"], name="mask"), *end("o")],
    "a constant to add": [*START[:1], node("QLinearAdd", ["xq", "x_s", "x_z", "six", "b_s", "b_z",
                                                          "a_s", "a_z"], ["yq"], name="sum",
                                           domain="com.microsoft"), dq("yq", "y", "a")],
    "an operator of our own": [q("x", "xq", "c"), dq("xq", "xf", "c"), dq("MU", "mf", "v"),
                               node("MatMul", ["xf", "mf"], ["g"], name="fc"), *end("g", "c")],
    "default zero points": [node("QuantizeLinear", ["x", "x_s"], ["xq"]),
                            node("DequantizeLinear", ["xq", "x_s"], ["y"])],
    "a dynamic layer": [node("DynamicQuantizeLinear", ["x"], ["xq", "s", "z"]),
                        node("MatMulInteger", ["xq", "M", "z"], ["i"]),
                        node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
                        node("Mul", ["s", "m_s"], ["p"]), node("Mul", ["f", "p"], ["y0"]),
                        node("DynamicQuantizeLinear", ["y0"], ["q1", "s1", "z1"]),
                        node("MatMulInteger", ["q1", "N", "z1"], ["i1"]),
                        node("Cast", ["i1"], ["f1"], to=TensorProto.FLOAT),
                        node("Mul", ["s1", "m_s"], ["p1"]), node("Mul", ["f1", "p1"], ["y"])],
}
SHAPE = {"a transposed operand": [6, 5]}


def build(case, nodes=(), outputs=("y",)):
    constants = CONSTANTS | {"N": np.ones((4, 3), S8)}
    proto = model([*MODELS[case], *nodes], constants, {"x": SHAPE.get(case, [6, 6])}, outputs)
    read = {name for n in proto.graph.node for name in n.input}
    kept = [tensor for tensor in proto.graph.initializer if tensor.name in read]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    return proto


def made_up(proto):
    """Names that lowering and legalizing invent."""
    lowered = lower(proto)
    graph = legalize(lowered)
    users = set(names_of(lowered.source.graph))
    names = set(names_of(lowered.model.graph)) | {node.name for node in graph.nodes}
    names |= {t.name for node in graph.nodes for t in (*node.inputs, *node.results)}
    names |= {edge.name for edge in graph.dequantize}
    names |= {n.z.name for n in graph.nodes if n.kind == "add"}
    return sorted(name for name in names - users - {""} if not name.startswith("Reshape"))


@pytest.mark.parametrize("case", MODELS)
def test_made_up_names_never_meet_a_users(case):
    """For each made-up name the same model with a tensor, and a node, of that name."""
    names = made_up(build(case))
    assert names
    dynamic = case == "a dynamic layer"
    for name in names:
        if dynamic:
            more = [node("Flatten", ["x"], [name]), node("DynamicQuantizeLinear", [name],
                                                         ["~q", "~s", "~z"], name=name),
                    node("MatMulInteger", ["~q", "MU", "~z"], ["~i"], name="other"),
                    node("Cast", ["~i"], ["~f"], to=TensorProto.FLOAT),
                    node("Mul", ["~s", "m_s"], ["~p"]), node("Mul", ["~f", "~p"], ["~"])]
        else:
            more = [q("x", name, "c"), dq(name, "~f", "c"), node("Relu", ["~f"], ["~r"], name=name),
                    q("~r", "~q", "c"), dq("~q", "~", "c")]
        proto = build(case, more, ("y", "~"))
        graph = agree(proto, exact=case != "an operator of our own")
        assert name not in made_up(proto)
        if not dynamic:
            assert graph.tensors[name].dtype == S8


def test_two_nodes_of_one_name_keep_a_third_ones():
    """A second layer of a node gets a number, unless a node of the user's has that name."""
    nodes = [*START, node("Relu", ["xf"], ["r"], name="n"), q("r", "bq", "b"), dq("bq", "y", "b"),
             q("r", "cq", "c"), dq("cq", "v", "c"), node("Neg", ["xf"], ["m"], name="n/2"),
             q("m", "mq", "a"), dq("mq", "z", "a")]
    graph = agree(model(nodes, CONSTANTS, {"x": [6, 6]}, ("y", "v", "z")))
    names = [n.name for n in graph.nodes]
    assert len(set(names)) == len(names)
    assert {"n", "n/2", "n/3"} == set(names)


def test_fresh_names_know_subgraphs():
    inner = onnx.helper.make_graph([node("Identity", ["a/b"], ["a/b/2"])], "inner", [], [])
    outer = onnx.helper.make_graph([node("If", ["c"], ["d"], then_branch=inner)], "outer", [], [])
    names = Names(outer)
    assert [names.fresh("a", "b"), names.fresh("a", "b"), names.fresh("e")] == [
        "a/b/3", "a/b/4", "e"
    ]
