# SPDX-License-Identifier: Apache-2.0
"""The command ``kiwicha ops``: the operators, what they promise, and what they may not be."""

import argparse

from rich import box
from rich.table import Table
from rich.text import Text

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.graph.node import PROMISES
from kiwicha.compiler.ops.limits import GENERAL
from kiwicha.compiler.ops.operator import Operator
from kiwicha.compiler.ops.registry import NO_RULE, operators
from kiwicha.compiler.ops.unsupported import NO_SUCH, REASONS
from kiwicha.errors import KiwichaError
from kiwicha.report.terminal import output_console

__all__ = ["run_ops"]


def _chosen(name: str | None) -> list[Operator]:
    """Return the operators that answer for an op type, all where none is named."""
    found = [
        operator
        for operator in operators()
        if not name or name in {op for form in operator.forms for op in form.operators}
    ]
    if not found:
        raise KiwichaError(f"{name}: {REASONS.get(str(name), NO_SUCH)}")
    return found


def _forms(operator: Operator) -> str:
    """Return op types by form, a form a line."""
    kinds = dict.fromkeys(form.kind for form in operator.forms)
    return "\n".join(
        f"{kind}: " + ", ".join(
            op for form in operator.forms if form.kind == kind for op in form.operators
        )
        for kind in kinds
    )


def _sentences(limits: tuple[Limit, ...]) -> Text:
    return Text("\n".join(f"- {limit.show()}" for limit in limits))


def run_ops(args: argparse.Namespace) -> int:
    """Print a table of the operators, or of those that answer for one op type."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_lines=True)
    for name, ratio in (("operator", 2), ("forms", 3), ("promise", 1), ("refused where it", 5)):
        table.add_column(name, ratio=ratio, overflow="fold")
    for operator in _chosen(args.operator):
        promises = "\n".join(PROMISES[promise] for promise in operator.promises)
        table.add_row(
            Text(operator.name), Text(_forms(operator)), promises, _sentences(operator.limits)
        )
    if not args.operator:
        table.add_row("all", "", "", _sentences(GENERAL))
        table.add_row("all written in float", "", "", _sentences(NO_RULE))
    output_console().print(table)
    return 0
