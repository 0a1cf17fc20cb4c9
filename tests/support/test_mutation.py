# SPDX-License-Identifier: Apache-2.0
"""The mutation score of a skid buffer: high with every ready policy, lower with a lazy test."""

import cocotb
import pytest

from .mutation import mutation_score
from .streams import READY_POLICIES, StreamSink, StreamSource, start_clock_and_reset
from .test_streams import WORD, Skid


@cocotb.test()
async def one_word(dut):
    await start_clock_and_reset(dut)
    sink = StreamSink(dut, "o", WORD)
    StreamSource(dut, "i", WORD).put([{"tag": 5, "value": -3}])
    assert await sink.receive(1) == [{"tag": 5, "value": -3}]


@cocotb.test()
async def always_wrong(dut):
    raise AssertionError("wrong on the original too")


def settings(*policies):
    return [{"ready": ready, "offer": "random", "seed": 7} for ready in policies]


def test_good_tests_kill_nearly_all():
    result = mutation_score(
        Skid(),
        "tests.support.test_streams",
        60,
        params=settings(*READY_POLICIES),
        testcase="passes_words",
    )
    assert result.mutants == 60
    assert result.score >= 0.95, "\n".join(result.survivors)


def test_lazy_tests_leave_survivors():
    result = mutation_score(Skid(), __name__, 60, testcase="one_word", name="skid-lazy")
    assert result.score < 0.9


def test_a_test_that_fails_anyway_is_no_measure():
    with pytest.raises(AssertionError, match="fail on the original"):
        mutation_score(Skid(), __name__, 4, testcase="always_wrong", name="skid-wrong")
