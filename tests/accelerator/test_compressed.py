# SPDX-License-Identifier: Apache-2.0
"""A pruned network on one machine with every weight format: the same bits from each of them."""

import numpy as np
import pytest

from kiwicha.compiler.frontend.inputs import random_inputs
from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.golden.machine import Machine, MachineError
from kiwicha.golden.network import evaluate, outputs
from kiwicha.machine.capabilities import WEIGHT_FORMATS
from kiwicha.machine.encoding import walk_program
from kiwicha.machine.isa import ErrorCode, Opcode, WeightFormat
from kiwicha.sim.reference import reference

from ..compiler.pruned import DENSE, pruned
from .board import Job, board
from .networks import Prepared, check, result_bits, to_job
from .test_faults import check_fault

MACHINE = DENSE.replace(name="every-format", sparse={"formats": WEIGHT_FORMATS, "entries": 4})
POINTER = 16  # place of the first column's in a stream with a codebook


def prepared() -> Prepared:
    """Return the network with one input, exact to ONNX Runtime."""
    model = lower(pruned(), None)
    graph = legalize(model)
    given = random_inputs(graph.inputs, 1)
    tensors = evaluate(graph, given)
    for name, value in reference(model, given).outputs.items():
        np.testing.assert_array_equal(outputs(graph, tensors)[name], value)
    return Prepared(graph, tensors)


def streams(words: np.ndarray) -> dict[WeightFormat, int]:
    """Return the formats in use, and where a stream of each is."""
    return {
        WeightFormat(fields["format"]): fields["address"]
        for _, opcode, fields in walk_program(words)
        if opcode == Opcode.LOAD and fields["format"] != WeightFormat.DENSE
    }


def broken(job: Job, stream: int) -> Job:
    """Return the job with a column of more entries than elements."""
    image = job.image.copy()
    image[stream + POINTER : stream + POINTER + 2] = 255
    return job.but(image=image)


def test_every_format_gives_the_same_bits() -> None:
    network = prepared()
    choices = [(), *((name,) for name in WEIGHT_FORMATS), WEIGHT_FORMATS]
    made = []
    for chosen in choices:
        made.append(to_job(network, MACHINE.replace(sparse={"formats": chosen})))
        used = {form.name.lower().replace("_", "-") for form in streams(made[-1][0].words)}
        assert used <= set(chosen)
        assert len(used) == 1 or len(chosen) != 1
    name = choices.index(("csc4-codebook",))
    compiled, right, _ = made[name]
    wrong = broken(right, streams(compiled.words)[WeightFormat.CSC4_CODEBOOK])
    with pytest.raises(MachineError, match="malformed stream: pointer"):
        Machine(MACHINE, wrong.image.copy(), wrong.read_window, wrong.write_window).run(
            compiled.words
        )

    stalled = [job.but(stall=90, latency=50) for _, job, _ in made]
    results = board(MACHINE).run([job for _, job, _ in made] + stalled + [wrong, right])
    bits = set()
    for index, done in enumerate(results[: 2 * len(made)]):
        compiled, job, golden = made[index % len(made)]
        where = ", ".join(choices[index % len(made)]) or "dense"
        check(network, compiled, golden, done, where)
        bits.add(result_bits(network, compiled, done.memory))
        predicted = compiled.timeline.total
        print(f"{where}: {done.cycles} cycles, {predicted} predicted")
        if index < len(made):
            assert abs(done.cycles - predicted) <= 0.03 * predicted + 150, where
    assert len(bits) == 1
    check_fault("broken", ErrorCode.MALFORMED_STREAM, POINTER, wrong, results[-2])
    check(network, compiled=made[name][0], golden=made[name][2], done=results[-1], where="after")
