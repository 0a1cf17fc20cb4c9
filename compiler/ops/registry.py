# SPDX-License-Identifier: Apache-2.0
"""All operators: those of every module of this folder that has some."""

import importlib
import pkgutil
from functools import cache

import onnx

import kiwicha.compiler.ops
from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.onnx_node import Refusal, Unknown
from kiwicha.compiler.frontend.tflite.model import DOMAIN
from kiwicha.compiler.ops.constant import fold, folds
from kiwicha.compiler.ops.context import Context
from kiwicha.compiler.ops.operator import Form, Operator, Rule
from kiwicha.compiler.ops.tflite import check_tensors
from kiwicha.compiler.ops.unsupported import NO_SUCH, REASONS
from kiwicha.compiler.ops.view import VIEWS

__all__ = ["NO_RULE", "is_elementwise", "operators", "reason_of", "rule_of"]

_DOMAINS = ("", "ai.onnx", "com.microsoft")
_OF_CONSTANTS = ("DequantizeLinear", *VIEWS)
"""Operators that keep what is known of a constant besides its value."""

_SCALE = Limit(
    "on a quantized tensor without scale; write it between Q and DQ", lambda codes: not codes
)
NO_RULE = (_SCALE,)
"""Limits of operators that are written in float."""


@cache
def operators() -> tuple[Operator, ...]:
    """Return all operators, by name."""
    package = kiwicha.compiler.ops
    found: list[Operator] = []
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        found += getattr(importlib.import_module(module.name), "OPERATORS", ())
    return tuple(sorted(found, key=lambda operator: operator.name))


@cache
def _forms() -> dict[str, list[tuple[Operator, Form]]]:
    """Return the forms of each op type."""
    table: dict[str, list[tuple[Operator, Form]]] = {}
    for operator in operators():
        for form in operator.forms:
            for name in form.operators:
                table.setdefault(name, []).append((operator, form))
    return table


def is_elementwise(op_type: str) -> bool:
    """Whether each element of the result depends on one place of the operands."""
    return any(operator.elementwise for operator, _ in _forms().get(op_type, ()))


def rule_of(context: Context, node: onnx.NodeProto) -> Rule:
    """Return the rule that answers for a node.

    Raises
    ------
    Refusal
        Where there is none, with the reason.
    Unknown
        Where nothing but a refused node's result is in its way.
    """
    if node.domain == DOMAIN:
        return _tflite_rule(context, node)
    known = _forms().get(node.op_type, ()) if node.domain in _DOMAINS else ()
    if node.op_type not in _OF_CONSTANTS and folds(context, node):
        return fold
    for _, form in known:
        if form.rule is not None and form.when(context, node):
            return form.rule
    if not known or any(operator.otherwise for operator, _ in known):
        raise Refusal(reason_of(context, node))
    _SCALE.check(codes=[name for name in node.input if name in context.tensors])
    raise Unknown


def _tflite_rule(context: Context, node: onnx.NodeProto) -> Rule:
    """Return the rule for an operator of TFLite, whose tensors are such as the machine has."""
    for _, form in _forms().get(node.op_type, ()):
        if form.kind == "TFLite" and form.rule is not None:
            check_tensors(context, node, form.edge, form.operands)
            return form.rule
    raise Refusal(NO_SUCH)


def reason_of(context: Context, node: onnx.NodeProto) -> str:
    """Return why an operator as such, or one in float, cannot be mapped.

    Raises
    ------
    Unknown
        Where nothing but a refused node's result is in its way.
    """
    if node.domain not in _DOMAINS:
        return NO_SUCH
    for operator, _ in _forms().get(node.op_type, ()):
        if operator.otherwise is not None:
            return operator.otherwise(context, node)
    return REASONS.get(node.op_type, NO_SUCH)
