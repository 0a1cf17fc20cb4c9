# SPDX-License-Identifier: Apache-2.0
"""Models newer than what ONNX Runtime reads run in the newest form that it does, or say why not."""

import numpy as np
import onnx
import pytest
from onnx import helper

from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.frontend.session import open_session
from kiwicha.compiler.frontend.versions import IR_VERSION, OPSET, as_runtime_reads
from kiwicha.errors import ModelError

from .agree import agree
from .onnx_models import dq, model, node, q, scales

CONSTANTS = scales(x=(0.03, np.uint8(120)), y=(0.02, np.uint8(3)))
ENDS = [q("x", "xq", "x"), dq("xq", "xf", "x")], [q("f", "yq", "y"), dq("yq", "y", "y")]
X = {"x": np.linspace(-3, 3, 24, dtype=np.float32).reshape(1, 2, 3, 4)}


def newer(*nodes, ir=IR_VERSION + 1, opset=OPSET + 2):
    made = model([*ENDS[0], *nodes, *ENDS[1]], CONSTANTS, {"x": [1, 2, 3, 4]})
    made.ir_version = ir
    made.opset_import[0].version = opset
    return made


def test_what_the_runtime_reads():
    """The newest version is read, the next one is not."""
    made = newer(node("Sigmoid", ["xf"], ["f"]), ir=IR_VERSION, opset=OPSET)
    open_session(made, ())
    for ir, opset in ((IR_VERSION + 1, OPSET), (IR_VERSION, OPSET + 1)):
        made.ir_version, made.opset_import[0].version = ir, opset
        with pytest.raises(ModelError, match="ONNX Runtime refuses"):
            open_session(made, ())


@pytest.mark.parametrize("operator", ["Sigmoid", "Celu"])
def test_a_newer_model_runs(operator):
    """Sigmoid is as it was; Celu came anew in 28, for more types."""
    assert onnx.defs.get_schema("Celu", OPSET + 2).since_version > OPSET
    made = newer(node(operator, ["xf"], ["f"]))
    agree(made, X)
    assert made.opset_import[0].version == OPSET + 2  # the caller's own is left as it was


def test_a_model_that_needs_no_change_is_left_alone():
    made = newer(node("Sigmoid", ["xf"], ["f"]), ir=8, opset=21)
    assert as_runtime_reads(made) is made


def test_an_operator_that_is_new_is_refused():
    made = newer(node("SwiGLU", ["xf"], ["f"]))
    with pytest.raises(ModelError, match=rf"set {OPSET + 2}; ONNX Runtime .* up to {OPSET}"):
        lower(made)


def test_an_operator_whose_meaning_changed_is_refused():
    """Mod of floats was never what it is by default since 28."""
    made = newer(node("Mod", ["xf", "x_s"], ["f"]))
    with pytest.raises(ModelError, match="Mod"):
        lower(made)


def test_quantization_inside_a_function():
    """A function of the model's own that holds all there is to quantize."""
    inner = [*ENDS[0], node("Sigmoid", ["xf"], ["f"]), *ENDS[1]]
    names = list(CONSTANTS)
    made = model([helper.make_node("All", ["x", *names], ["y"], domain="mine", name="all")],
                 CONSTANTS, {"x": [1, 2, 3, 4]})
    made.functions.append(helper.make_function(
        "mine", "All", ["x", *names], ["y"], inner, [helper.make_opsetid("", 17)]
    ))
    made.opset_import.append(helper.make_opsetid("mine", 1))
    graph = agree(made, X)
    assert [n.kind for n in graph.nodes] == ["table"]
