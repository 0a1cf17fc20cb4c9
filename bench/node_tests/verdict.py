# SPDX-License-Identifier: Apache-2.0
"""One node test in one form: does it run on the golden machine, and with the right bits?"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

import onnx

from kiwicha.bench.node_tests.cases import AS_GIVEN, Case, quantized
from kiwicha.compiler.frontend.limit import FLOAT32, SCALE, Limit
from kiwicha.compiler.frontend.quantization import DYNAMIC, STATIC
from kiwicha.compiler.frontend.session import open_session, runtime_message
from kiwicha.compiler.ops.limits import GENERAL
from kiwicha.compiler.ops.registry import NO_RULE, operators
from kiwicha.errors import KiwichaError, UnsupportedModel
from kiwicha.sim.fallback import golden_fallback
from kiwicha.sim.golden_run import run_on_golden_machine
from kiwicha.sim.reference import elements_that_differ

__all__ = ["ANSWERED", "BY_HOST", "EQUAL", "Outcome", "Verdict", "verdict"]


EQUAL, BY_HOST = "every output equal", "no layer for the machine"
"""What is told of models that pass."""
ANSWERED = "with --host-fallback right"
"""What is told of models that are refused without."""


class Outcome(StrEnum):
    """What became of a model."""

    PASSED = "passed"
    REFUSED = "refused"
    DIFFERING = "differing"
    CRASH = "crash"
    NOT_QUANTIZED = "not quantized"
    NOT_RUN = "not run by ONNX Runtime"


@dataclass(frozen=True)
class Verdict:
    """Members
    -------
    why : sentences; of what passed, those of `EQUAL` and `BY_HOST` that hold; of what is refused
        the last may be `ANSWERED`.
    """

    outcome: Outcome
    why: tuple[str, ...] = ()


def verdict(case: Case, form: str) -> Verdict:
    """Quantize a test, compile it for the machine that it needs, run it there and compare."""
    try:
        model = quantized(case, form)
    except Exception as error:  # the quantizer's and the runtime's have no common base
        return Verdict(Outcome.NOT_RUN, (_general(f"quantizer: {runtime_message(error)}"),))
    names = {node.op_type for node in model.graph.node}
    integer = names & {*STATIC, *DYNAMIC} or any("QLinear" in name for name in names)
    if form != AS_GIVEN and not integer:
        return Verdict(Outcome.NOT_QUANTIZED, (case.operators,))
    try:
        open_session(model, ()).run(None, case.inputs)
    except Exception as error:  # as above
        return Verdict(Outcome.NOT_RUN, (_general(runtime_message(error)),))
    try:
        made = run_on_golden_machine(model, None, case.inputs)
    except KiwichaError as error:
        return _with_host(case, model, _reasons(error))
    except Exception as error:  # whatever it is, it is a fault of ours
        return _crash(error)
    if made.wrong:
        return Verdict(Outcome.DIFFERING, made.wrong)
    same = not elements_that_differ(made.outputs, made.reference.outputs)
    told = {EQUAL: same, BY_HOST: not made.layers}
    return Verdict(Outcome.PASSED, tuple(what for what, holds in told.items() if holds))


def _reasons(error: KiwichaError) -> tuple[str, ...]:
    if not isinstance(error, UnsupportedModel):
        return (_general(str(error)),)
    return tuple(dict.fromkeys(
        f"{operator}: {_general(reason)}" for _, operator, reason in error.refusals
    ))


def _crash(error: Exception) -> Verdict:
    return Verdict(Outcome.CRASH, (f"{type(error).__name__}: {_general(str(error))}",))


def _with_host(case: Case, model: onnx.ModelProto, reasons: tuple[str, ...]) -> Verdict:
    """Run a model that was refused for some reasons with ONNX Runtime for what is in the way."""
    try:
        run = golden_fallback(model, None, case.inputs)
    except KiwichaError:
        return Verdict(Outcome.REFUSED, reasons)
    except Exception as error:  # whatever it is, it is a fault of ours
        return _crash(error)
    wrong = [sentence for program in run.programs for sentence in program.wrong]
    if run.wrong:
        wrong.append(f"{run.wrong:,} elements of the outputs are wrong with --host-fallback")
    return Verdict(Outcome.DIFFERING if wrong else Outcome.REFUSED, tuple(wrong) or (
        *reasons, ANSWERED))


@cache
def _limits() -> tuple[Limit, ...]:
    def every() -> Iterator[Limit]:
        yield from (*GENERAL, *NO_RULE, FLOAT32, SCALE)
        for operator in operators():
            yield from operator.limits

    return tuple(every())


def _general(text: str) -> str:
    """Return a sentence without the names and numbers of one model."""
    for limit in _limits():
        if limit.matches(text):
            return limit.show("*")
    text = re.sub(r"Load model from \S+ (failed:)? ?", "", " ".join(text.split()))
    text = re.sub(r"\([\d,]*\)", "*shape*", text).split(". ")[0]
    return re.sub(r"'[^']*'", "*name*", re.sub(r"-?\b\d+(\.\d+)?\b", "*n*", text))[:200]
