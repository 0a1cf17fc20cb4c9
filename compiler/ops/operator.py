# SPDX-License-Identifier: Apache-2.0
"""The face of an operator: what it answers for, what it may be, what it promises.

Each module of this folder that has a tuple ``OPERATORS`` registers what is in it
(`compiler.ops.registry`); nothing else names an operator.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import onnx

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.graph.node import PROMISES, Promise
from kiwicha.compiler.ops.context import Context

__all__ = [
    "Condition", "Form", "Operator", "Rule", "always", "first_is_constant", "first_is_float",
    "some_is_float",
]

Rule = Callable[[Context, onnx.NodeProto], None]
"""Turns a node into graph nodes, or into what is known of a float value."""
Condition = Callable[[Context, onnx.NodeProto], bool]
"""Whether a rule answers for a node; looks at what its inputs have become, and nothing else."""


def always(_context: Context, _node: onnx.NodeProto) -> bool:
    """Whatever the inputs are."""
    return True


def first_is_float(context: Context, node: onnx.NodeProto) -> bool:
    """The first input is a function in float of codes or of a graph input."""
    return node.input[0] in context.floats


def some_is_float(context: Context, node: onnx.NodeProto) -> bool:
    """An input is such a function."""
    return any(name in context.floats for name in node.input)


def first_is_constant(context: Context, node: onnx.NodeProto) -> bool:
    """The first input is a constant."""
    return node.input[0] in context.constants


@dataclass(frozen=True)
class Form:
    """One way to write an operator.

    Members
    -------
    kind : "QOperator": its operands are codes, their scales inputs of the node; "QDQ": between
        DequantizeLinear and QuantizeLinear, from which ONNX Runtime makes the QOperator form;
        "float": at the same place, where the runtime leaves it in float; "dynamic": with scales
        that follow from the values; "constant": computed by the compiler; "TFLite": an operator of
        a TFLite file (`compiler.ops.tflite`).
    operators : op types, of ONNX's domain or com.microsoft, or TFLite's.
    promise : what the result promises (`compiler.graph.nodes`), at least; a report has it by layer.
    rule : None where another form's rule, or that of dynamic quantization, sees the node.
    when : on which nodes the rule answers, if no earlier form of the operator does.
    edge, operands : of TFLite: what may be float32, "" or "input" or "output"; and how many tensors
        it reads at least.
    """

    kind: Literal["QOperator", "QDQ", "float", "dynamic", "constant", "TFLite"]
    operators: tuple[str, ...]
    promise: Promise
    rule: Rule | None = None
    when: Condition = always
    edge: Literal["", "input", "output"] = ""
    operands: int = 1


@dataclass(frozen=True)
class Operator:
    """An operator of the machine.

    Members
    -------
    name : for the reader.
    forms : how it is written.
    golden : module and function of `golden` that say what it means; "" where the runtime itself
        does (its table is copied), or only bytes are read in another way.
    limits : what it may not be besides what no operator may (`compiler.ops.limits.GENERAL`); those
        that a model which ONNX Runtime takes may break.
    domain : in which cases the promise was tested, in short.
    tests : test files that show it.
    elementwise : each element of the result depends on one place of the operands.
    otherwise : why a node is refused for which no rule answers; None: what all operators say.
    """

    name: str
    forms: tuple[Form, ...]
    golden: str
    limits: tuple[Limit, ...]
    domain: str
    tests: tuple[str, ...]
    elementwise: bool = False
    otherwise: Callable[[Context, onnx.NodeProto], str] | None = None

    @property
    def promises(self) -> tuple[Promise, ...]:
        """Those of its forms, each once, the strongest first."""
        made = {form.promise for form in self.forms}
        return tuple(promise for promise in PROMISES if promise in made)
