# SPDX-License-Identifier: Apache-2.0
"""The part of docs/operators.md that the operators themselves say.

``make docs`` writes it anew; with ``--check`` it only says whether it is what it was.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.graph.node import PROMISES
from kiwicha.compiler.ops.limits import GENERAL
from kiwicha.compiler.ops.operator import Operator
from kiwicha.compiler.ops.registry import NO_RULE, operators
from kiwicha.compiler.ops.tflite import GENERAL as TFLITE
from kiwicha.compiler.ops.unsupported import REASONS

__all__ = ["PAGE", "main", "page"]

PAGE = Path(__file__).parents[2] / "docs/operators.md"
_MARK = "<!-- `make docs` writes all below -->\n"


def _row(operator: Operator) -> str:
    kinds = dict.fromkeys(form.kind for form in operator.forms)
    forms = "<br>".join(
        f"{kind}: " + ", ".join(
            op for form in operator.forms if form.kind == kind for op in form.operators
        )
        for kind in kinds
    )
    promises = ", ".join(PROMISES[promise] for promise in operator.promises)
    tests = f'`make test ARGS="{" ".join(operator.tests)}"`'
    return f"| {operator.name} | {forms} | {promises} | {operator.domain} | {tests} |"


def _sentences(limits: tuple[Limit, ...]) -> list[str]:
    return [f"- {limit.show('*')}" for limit in limits]


def _generated() -> str:
    lines = [
        "", "## The operators", "",
        "| operator | forms | promise | tested domain | shown by |", "|---|---|---|---|---|",
        *map(_row, operators()),
        "", "## What they may not be", "",
        "A node is refused where it breaks a limit, with the sentence below, values in place of",
        "the words in italics. All operators:", "",
        *_sentences(GENERAL),
        "", "All that are written between DequantizeLinear and QuantizeLinear:", "",
        *_sentences(NO_RULE),
        "", "All of TFLite:", "",
        *_sentences(TFLITE),
    ]
    for operator in operators():
        if operator.limits:
            lines += ["", f"### {operator.name}", "", *_sentences(operator.limits)]
    lines += ["", "### Operators that there are not", ""]
    lines += [f"- {name}: {reason}" for name, reason in sorted(REASONS.items())]
    return "\n".join(lines) + "\n"


def page() -> str:
    """Return the page as it should be."""
    written, mark, _ = PAGE.read_text(encoding="utf-8").partition(_MARK)
    return written + mark + _generated()


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or compare; returns 1 where it was to be the same and is not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the page, leave it")
    check = parser.parse_args(arguments).check
    before, after = PAGE.read_text(encoding="utf-8"), page()
    print(f"{PAGE.name} {'same' if before == after else 'changed'}")
    if check:
        return int(before != after)
    PAGE.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
