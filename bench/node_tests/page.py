# SPDX-License-Identifier: Apache-2.0
"""docs/node-tests.md and the counts in the README, both made of docs/node-tests.json."""

import json
import re
from collections import Counter, defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kiwicha.bench.node_tests.verdict import ANSWERED, BY_HOST, EQUAL, Outcome, Verdict

__all__ = ["DATA", "PAGE", "README", "Results", "page", "read", "readme", "write"]

Results = dict[str, dict[str, Verdict]]
"""By test and form."""

_ROOT = Path(__file__).resolve().parents[2]
DATA, PAGE, README = (
    _ROOT / "docs/node-tests.json", _ROOT / "docs/node-tests.md", _ROOT / "README.md"
)
_PLACE = re.compile(r"<!-- begin node-tests -->\n.*?<!-- end node-tests -->\n", re.DOTALL)


def write(results: Results) -> None:
    """Write data and page, and the counts into the README."""
    reasons: dict[str, int] = {}
    lines = []
    for name, forms in sorted(results.items()):
        told = {
            form: [found.outcome.value, *(reasons.setdefault(w, len(reasons)) for w in found.why)]
            for form, found in forms.items()
        }
        lines.append(f"    {json.dumps(name)}: {json.dumps(told)}")
    head = {"versions": {name: version(name) for name in ("onnx", "onnxruntime")}}
    head["why"] = list(reasons)  # type: ignore[assignment]
    text = json.dumps(head, indent=2)[:-2] + ',\n  "tests": {\n' + ",\n".join(lines) + "\n  }\n}\n"
    DATA.write_text(text, encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
    README.write_text(readme(), encoding="utf-8")


def _stored() -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(DATA.read_text(encoding="utf-8"))
    return stored


def read() -> Results:
    """Return what was written."""
    stored = _stored()
    return {
        name: {
            form: Verdict(Outcome(outcome), tuple(stored["why"][place] for place in why))
            for form, (outcome, *why) in forms.items()
        }
        for name, forms in stored["tests"].items()
    }


def _counts(results: Results) -> Counter[tuple[str, Outcome]]:
    return Counter(
        (form, found.outcome) for forms in results.values() for form, found in forms.items()
    )


def readme() -> str:
    """Return the README with these counts in their place."""
    results = read()
    counts = Counter(found.outcome for forms in results.values() for found in forms.values())
    some = sum(
        any(found.outcome is Outcome.PASSED for found in forms.values())
        for forms in results.values()
    )
    judged = sum(counts[outcome] for outcome in list(Outcome)[:4])
    answered = sum(
        ANSWERED in found.why for forms in results.values() for found in forms.values()
    )
    text = (
        f"<!-- begin node-tests -->\nOf the node tests inside `onnx`, quantized in four ways, "
        f"{counts[Outcome.PASSED]:,} of {judged:,} models run with the\nright bits ({some} of "
        f"{len(results)} tests in at least one form), {counts[Outcome.REFUSED]:,} are refused with "
        f"a sentence (with\n`--host-fallback` {answered:,} of them run right), "
        f"{counts[Outcome.DIFFERING]} differ, {counts[Outcome.CRASH]} crash;\n"
        "[docs/node-tests.md](docs/node-tests.md) lists them.\n<!-- end node-tests -->\n"
    )
    return _PLACE.sub(lambda _: text, README.read_text(encoding="utf-8"))


def _table(header: tuple[str, ...], rows: list[tuple[Any, ...]], text: int) -> list[str]:
    """Return a table whose first ``text`` columns are no figures."""
    rule = ["---" if place < text else "---:" for place in range(len(header))]
    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    return [f"| {' | '.join(row)} |" for row in (header, rule, *cells)]


def page() -> str:
    """Return the page as it should be."""
    results, versions = read(), _stored()["versions"]
    counts = _counts(results)
    forms = list(dict.fromkeys(form for found in results.values() for form in found))
    rows: list[tuple[Any, ...]] = [
        (outcome, *(counts[form, outcome] for form in forms),
         sum(counts[form, outcome] for form in forms))
        for outcome in Outcome
    ]
    for place, outcome, what in (
        (1, Outcome.PASSED, EQUAL), (2, Outcome.PASSED, BY_HOST), (4, Outcome.REFUSED, ANSWERED),
    ):
        some = Counter(
            form for tests in results.values() for form, found in tests.items()
            if found.outcome is outcome and what in found.why
        )
        rows.insert(place, (f"of these {what}", *(some[form] for form in forms), some.total()))
    lines = [
        "# Node tests of ONNX", "",
        "Written by `make node-tests`, from what it measured. The package `onnx` "
        f"({versions['onnx']}) brings a test for",
        "each operator and way of using it. Those whose graph is integer are taken as they are; "
        "those in float32",
        "are quantized by `quantize_static` of ONNX Runtime "
        f"({versions['onnxruntime']}), all their operators, calibrated with",
        "their own inputs. Shapes, axes, indices and conditions, and the weights of layers, are "
        "inputs of the",
        "tests and constants here; operator sets that ONNX Runtime does not read yet are converted "
        "by `onnx`",
        "to one that it does. Each model is compiled for `default` and what it needs besides, "
        "runs on the",
        "golden machine and is compared with ONNX Runtime by what its operators promise.", "",
        *_table(("", *forms, "all"), rows, 1),
    ]
    for outcome, title in _TITLES.items():
        lines += ["", f"## {title}", "", *_reasons(results, outcome)]
    return "\n".join(lines) + "\n"


_TITLES = {
    Outcome.CRASH: "Crashes", Outcome.DIFFERING: "Differing", Outcome.REFUSED: "Refused",
    Outcome.NOT_RUN: "Not run by ONNX Runtime or its quantizer",
    Outcome.NOT_QUANTIZED: "Not quantized: what the quantizer leaves in float",
    Outcome.PASSED: "Passed",
}


def _reasons(results: Results, outcome: Outcome) -> list[str]:
    """Return a table of the reasons, or for what passed the tests."""
    models, tests = Counter[str](), defaultdict[str, dict[str, None]](dict)
    for name, forms in results.items():
        for found in forms.values():
            if found.outcome is outcome:
                reasons = [why for why in found.why if why != ANSWERED]
                for why in reasons if outcome is not Outcome.PASSED else ("",):
                    models[why] += 1
                    tests[why][name.removeprefix("test_")] = None
    if not models:
        return ["None."]
    if outcome is Outcome.PASSED:
        return ["In at least one form: " + ", ".join(f"`{name}`" for name in tests[""]) + "."]
    rows = [
        (why, _few(list(tests[why])), count)
        for why, count in sorted(models.items(), key=lambda item: (-item[1], item[0]))
    ]
    return _table(("why", "tests", "models"), rows, 2)


def _few(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 4 else ""
    return ", ".join(f"`{name}`" for name in (names[:3] if more else names)) + more
