# SPDX-License-Identifier: Apache-2.0
"""The node tests of onnx: a sample runs, and the page says what was measured."""

import json
import random

import pytest

from kiwicha.bench.node_tests import __main__ as command
from kiwicha.bench.node_tests import page
from kiwicha.bench.node_tests.cases import AS_GIVEN, FORMS, cases, quantized
from kiwicha.bench.node_tests.verdict import EQUAL, Outcome, Verdict, verdict

SAMPLE = 60
PASSED = 20  # of these, tests that passed when the page was written
BAD = (Outcome.CRASH, Outcome.DIFFERING)


def sample():
    """Tests by name, each in one of its forms, and some that passed."""
    generator = random.Random(0)
    results = page.read()
    jobs = [(name, form) for name, forms in sorted(results.items()) for form in forms]
    passed = [job for job in jobs if results[job[0]][job[1]].outcome is Outcome.PASSED]
    return dict.fromkeys(generator.sample(jobs, SAMPLE) + generator.sample(passed, PASSED))


def test_a_sample_neither_crashes_nor_differs_nor_gets_worse():
    before, by_name = page.read(), {case.name: case for case in cases()}
    for name, form in sample():
        found = verdict(by_name[name], form)
        assert found.outcome not in BAD, f"{name}, {form}: {found.why}"
        if before[name][form].outcome is Outcome.PASSED:
            assert found.outcome is Outcome.PASSED, f"{name}, {form}: {found.why}"


@pytest.mark.slow
def test_all_are_as_the_page_says():
    assert command.main(["--check"]) == 0, "run `make node-tests`"


def test_the_page_and_the_readme_say_what_was_measured(monkeypatch, tmp_path):
    assert page.PAGE.read_text() == page.page(), "run `make node-tests`"
    assert page.README.read_text() == page.readme(), "run `make node-tests`"
    stored = json.loads(page.DATA.read_text())
    stored["tests"]["test_abs"]["QDQ int8"] = ["crash"]
    changed = tmp_path / "node-tests.json"
    changed.write_text(json.dumps(stored))
    monkeypatch.setattr(page, "DATA", changed)
    assert page.PAGE.read_text() != page.page()
    assert page.README.read_text() != page.readme()


def test_what_was_written_is_read_again(monkeypatch, tmp_path):
    results = {"test_a": {
        "QDQ int8": Verdict(Outcome.PASSED, (EQUAL,)), "QDQ uint8": Verdict(Outcome.CRASH, ("x",))
    }}
    (tmp_path / "README.md").write_text(page.README.read_text())
    for name in ("DATA", "PAGE", "README"):
        monkeypatch.setattr(page, name, tmp_path / getattr(page, name).name)
    page.write(results)
    assert page.read() == results
    assert "| x | `a` | 1 |" in page.PAGE.read_text()
    assert "1 of 2" in page.README.read_text()


def test_forms():
    """Each is what its name says, and what networks have as constants is none of the inputs."""
    by_name = {case.name: case for case in cases()}
    case = by_name["test_basic_conv_with_padding"]
    assert case.forms == tuple(FORMS)
    assert set(case.inputs) == {"x"}
    for form in FORMS:
        operators = {node.op_type for node in quantized(case, form).graph.node}
        assert operators & {"Conv", "QLinearConv"} == {
            "Conv" if form.startswith("QDQ") else "QLinearConv"
        }
        types = {tensor.data_type for tensor in quantized(case, form).graph.initializer}
        assert (2 in types) == form.endswith("uint8")
    assert by_name["test_add_int8"].forms == (AS_GIVEN,)
    assert set(by_name["test_add"].inputs) == {"x", "y"}
    assert set(by_name["test_reshape_one_dim"].inputs) == {"data"}


@pytest.mark.parametrize(("name", "form", "outcome"), [
    ("test_sigmoid", "QDQ int8", Outcome.PASSED),
    ("test_det_2d", "QDQ int8", Outcome.REFUSED),
    ("test_det_2d", "QOperator int8", Outcome.NOT_QUANTIZED),
    ("test_adam", "QDQ int8", Outcome.NOT_RUN),
])
def test_verdicts(name, form, outcome):
    (case,) = (case for case in cases() if case.name == name)
    assert verdict(case, form).outcome is outcome


def test_a_wrong_bit_differs_and_a_fault_of_ours_crashes(monkeypatch):
    (case,) = (case for case in cases() if case.name == "test_sigmoid")
    real = verdict.__globals__["run_on_golden_machine"]

    def wrong(*arguments):
        made = real(*arguments)
        return type(made)(**{**vars(made), "wrong": ("one bit",)})

    def broken(*_):
        raise KeyError("x")

    for run, outcome in ((wrong, Outcome.DIFFERING), (broken, Outcome.CRASH)):
        monkeypatch.setitem(verdict.__globals__, "run_on_golden_machine", run)
        assert verdict(case, "QDQ int8").outcome is outcome
