# SPDX-License-Identifier: Apache-2.0
"""Each limit of each operator refuses some model, with its sentence."""

import importlib
from pathlib import Path

import pytest

from kiwicha.compiler.frontend.source import lower_source
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.compiler.ops.limits import GENERAL
from kiwicha.compiler.ops.registry import NO_RULE, operators
from kiwicha.compiler.ops.tflite import GENERAL as TFLITE_GENERAL
from kiwicha.errors import UnsupportedModel

from .limit_examples import EXAMPLES as ONNX
from .limit_tflite import TFLITE

ROOT = Path(__file__).parents[2]
EXAMPLES = {name: {**ONNX.get(name, {}), **TFLITE.get(name, {})} for name in {**ONNX, **TFLITE}}
LIMITS = {"all": GENERAL, "all in float": NO_RULE, "all of TFLite": TFLITE_GENERAL} | {
    operator.name: operator.limits for operator in operators()
}
CASES = [(name, limit) for name, limits in LIMITS.items() for limit in limits]


def example(name, limit):
    """Return the first words of an example, none where there is no such."""
    return [words for words in EXAMPLES.get(name, ()) if limit.sentence.startswith(words)]


@pytest.mark.parametrize(
    ("name", "limit"), CASES, ids=[f"{name}: {limit.show()[:40]}" for name, limit in CASES]
)
def test_a_model_is_refused_with_the_sentence(name, limit):
    (words,) = example(name, limit)
    with pytest.raises(UnsupportedModel) as caught:
        legalize(lower_source(EXAMPLES[name][words]))
    reasons = [reason for _, _, reason in caught.value.refusals]
    assert any(limit.matches(reason) for reason in reasons), reasons


def test_no_example_is_of_no_limit():
    for name, models in EXAMPLES.items():
        for words in models:
            assert [limit for limit in LIMITS[name] if limit.sentence.startswith(words)], words


def test_an_op_type_has_the_rules_of_one_operator():
    """So that the order of the files decides nothing."""
    seen = {}
    for operator in operators():
        for form in operator.forms:
            for op_type in form.operators if form.rule is not None else ():
                assert seen.setdefault(op_type, operator.name) == operator.name


@pytest.mark.parametrize("operator", operators(), ids=lambda operator: operator.name)
def test_what_an_operator_names_is_there(operator):
    if operator.golden:
        module, name = operator.golden.split(".")
        assert callable(getattr(importlib.import_module(f"kiwicha.golden.{module}"), name))
    assert operator.tests
    for path in operator.tests:
        assert (ROOT / path).exists(), path
