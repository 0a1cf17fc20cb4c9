# SPDX-License-Identifier: Apache-2.0
"""What the host computes behind the last layers: indices, comparisons, and constants.

The machine has tensors of codes and no others. ArgMax, TopK and comparisons make int64 and bool of
them, which only a graph output can be; the host runs them, and what follows them, in ONNX Runtime
on the codes that the machine left. So it does with LogSoftmax, whose usual place is the last, and
with sums and normalizations that are: the quantizer leaves them in float, and so the result. A
comparison that is a function of one tensor may go on (`compiler.ops.table`).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.onnx_node import Refusal, Unknown
from kiwicha.compiler.frontend.session import open_session
from kiwicha.compiler.frontend.subgraph import subgraph
from kiwicha.compiler.graph.graph import Tensor, Value
from kiwicha.compiler.graph.host_operators import HostOperators
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.limits import QUANTIZED
from kiwicha.compiler.ops.operator import Form, Operator, Rule, first_is_float, some_is_float
from kiwicha.compiler.ops.table import elementwise
from kiwicha.compiler.ops.view import VIEWS
from kiwicha.errors import ModelError

__all__ = ["OPERATORS", "finish_constant", "finish_hosted", "host_rule", "leave_last"]

_INDICES = ("ArgMax", "ArgMin", "TopK")
_COMPARISONS = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
_LOGIC = ("And", "IsInf", "IsNaN", "Not", "Or", "Xor")
_BEHIND = (
    *_INDICES, *_COMPARISONS, *_LOGIC, *VIEWS, "Cast", "Gather", "QuantizeLinear",
    "DequantizeLinear",
)
"""What may follow on the host."""

_LEFT = ("sum", "normalize")
"""Kinds of float operations that the host computes where no QuantizeLinear follows."""

_LAST = Limit(
    "reads the result of {done}, which the host computes; only a graph output may be behind it, "
    "or with --host-fallback anything",
    lambda done, follows: follows,
)


def host_rule(context: Context, node: onnx.NodeProto) -> Rule | None:
    """Return the rule for a node that reads what the host computes, None for others."""
    return _behind if any(name in context.hosted for name in node.input) else None


def _behind(context: Context, node: onnx.NodeProto) -> None:
    done = next(context.hosted[name][1] for name in node.input if name in context.hosted)
    _LAST.check(done=done, follows=node.domain in ("", "ai.onnx") and node.op_type in _BEHIND)
    on_host(context, node)


def on_host(context: Context, node: onnx.NodeProto) -> None:
    """Leave a node to the host; nothing is emitted before a graph output needs it."""
    read = set[str]()
    for name in filter(None, node.input):
        if name in context.unknown:
            raise Unknown
        if name in context.hosted:
            read |= context.hosted[name][0]
        elif name in context.tensors:
            read.add(name)
        elif name in context.floats:
            origin = context.floats[name].origin
            QUANTIZED.check(quantized=isinstance(origin, Tensor))
            read.add(context.before.get(origin.name, origin.name))
        elif name not in context.constants:
            raise Unknown
    for name in filter(None, node.output):
        context.hosted[name] = (frozenset(read), node.op_type)


def leave_last(context: Context, output: Value) -> bool:
    """Leave a float graph output to the host where the machine could only make codes of it."""
    value = context.floats[output.name]
    done = [op.node.op_type for op in value.operations if op.kind in _LEFT]
    if done and isinstance(value.origin, Tensor):
        name = context.before.get(value.origin.name, value.origin.name)
        context.hosted[output.name] = (frozenset({name}), done[0])
    return output.name in context.hosted


def compare(context: Context, node: onnx.NodeProto) -> None:
    """A table where it is one tensor's function, else the host's."""
    try:
        elementwise(context, node)
    except Refusal:
        on_host(context, node)


def finish_hosted(context: Context, output: Value) -> None:
    """Give a graph output what the host computes it with."""
    names, _ = context.hosted[output.name]
    tensors = tuple(context.settled(context.tensors[name]) for name in sorted(names))
    sources = {tensor.name: (tensor.dtype, len(tensor.shape)) for tensor in tensors}
    part = subgraph(context.model, sources, output.name)
    session = open_session(part, context.settings)

    def run(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
        given = {tensor.name: array for tensor, array in zip(tensors, arrays, strict=True)}
        return np.asarray(session.run([output.name], given)[0])

    try:
        blank = run([np.zeros(tensor.shape, tensor.dtype) for tensor in tensors])
    except Exception as error:  # of no common base
        raise ModelError(f"ONNX Runtime cannot run what makes '{output.name}': {error}") from None
    operators = tuple(node.op_type for node in part.graph.node)
    _finish(context, output, tensors, blank, operators, part, run)
    made = next(node for node in context.model.graph.node if output.name in node.output)
    what = ", ".join(kind for kind in operators if kind not in ("Constant", "DequantizeLinear"))
    context.note(made, f"{what or 'DequantizeLinear'}: computed by the host")


def finish_constant(context: Context, output: Value) -> None:
    """Give a graph output that is a constant its value."""
    value = context.constants[output.name]
    kind = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
    part = onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node("Identity", ["value"], [output.name])], "constant", [],
            [onnx.helper.make_tensor_value_info(output.name, kind, value.shape)],
            [onnx.numpy_helper.from_array(value, "value")],
        ),
        opset_imports=context.model.opset_import, ir_version=context.model.ir_version,
    )
    _finish(context, output, (), value, ("Constant",), part, lambda _: value)


def _finish(
    context: Context, output: Value, tensors: tuple[Tensor, ...], blank: NDArray[Any],
    operators: tuple[str, ...], part: onnx.ModelProto, run: Any,
) -> None:
    name = context.names.fresh(output.name, "host")
    context.dequantize.append(HostOperators(
        name, tensors, output.name, blank.shape, blank.dtype, operators, part.SerializeToString(),
        run,
    ))


OPERATORS = (
    Operator(
        ", ".join(_INDICES),
        (Form("QDQ", _INDICES, "runtime", on_host),),
        "",
        (_LAST,),
        "as graph outputs, computed by the host; views, Cast, Gather and comparisons may follow",
        ("tests/compiler/test_host.py",),
    ),
    Operator(
        "LogSoftmax",
        (Form("float", ("LogSoftmax",), "runtime", on_host, first_is_float),),
        "",
        (_LAST,),
        "as a graph output, quantized or not, any axis, computed by the host; views may follow",
        ("tests/compiler/test_softmax.py",),
    ),
    Operator(
        "Comparisons and logic",
        (Form("QDQ", (*_COMPARISONS, *_LOGIC), "runtime", compare, some_is_float),
         Form("QOperator", (*_COMPARISONS, *_LOGIC), "runtime", on_host)),
        "",
        (),
        "functions of one tensor by table, all others as graph outputs, computed by the host",
        ("tests/compiler/test_host.py",),
        elementwise=True,
    ),
)
