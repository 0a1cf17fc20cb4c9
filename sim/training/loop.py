# SPDX-License-Identifier: Apache-2.0
"""The loop: batches to the machine, and every byte that it wrote against the golden model."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.emit.compile import CompiledModel, compile_graph
from kiwicha.compiler.graph.training import LABELS
from kiwicha.compiler.graph.training_nodes import LIMIT
from kiwicha.golden.training import StepResult
from kiwicha.hw.control.counters import COUNTER_RECORD
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.isa import COUNTER_WORDS, WORD_BITS
from kiwicha.sim.simulation import SimulatedMachine
from kiwicha.sim.steps import Steps, run_steps
from kiwicha.sim.training.learner import Learner
from kiwicha.sim.training.plan import Data, Plan
from kiwicha.sim.training.task import Task, Weights
from kiwicha.sim.training.traffic import step_macs

__all__ = ["Difference", "Epoch", "Trainer"]

_RECORD = COUNTER_WORDS * WORD_BITS // 8


class Difference(Exception):
    """The machine and the golden model differ; says in what, and at which step."""


@dataclass(frozen=True)
class Epoch:
    """What came of an epoch.

    Members
    -------
    number : of the first one 1.
    loss : cross-entropy, mean over its images, before each step.
    accuracy : of the held-out images, behind it.
    saturated : weights at +-127 behind it.
    cycles : of its steps, by layer, from the machine's counters.
    overflows : weights that saturated in their steps, from a register of the machine: in NITI's
        difference, or anywhere in an optimizer's arithmetic.
    """

    number: int
    loss: float
    accuracy: float
    saturated: int
    cycles: dict[str, int]
    steps: int
    overflows: int = 0


class Trainer:
    """Trains on a machine, and in the golden model beside it.

    Members
    -------
    learner : the golden model, whose weights are those that the machine has now.

    Raises
    ------
    KiwichaError
        Where the network does not fit the machine; before anything is built.
    """

    def __init__(self, task: Task, config: AcceleratorConfig, plan: Plan, data: Data) -> None:
        self.task, self.config, self.plan, self.data = task, config, plan, data
        self.learner = Learner(task, plan, data, config.beat_bytes)
        self.variants = [compile_graph(graph, config) for graph in self.learner.graphs]
        # The longest program is the last thing in memory.
        self.compiled = max(self.variants, key=lambda variant: variant.program[1])
        layouts = {
            (v.program[0], v.write_window, *v.addresses.items()) for v in self.variants
        }
        assert len(layouts) == 1, "a step's places depend on its program"
        self._inputs = [task.images, LABELS]

    @property
    def weights(self) -> Weights:
        """Those that the machine has now."""
        return self.learner.weights

    def run(
        self, machine: SimulatedMachine, first: int = 0, last: int | None = None
    ) -> Iterator[Epoch]:
        """Yield each epoch from ``first`` on, when all of its steps have been compared; up to
        epoch ``last``, which is not among them, or the plan's end.

        Raises
        ------
        Difference
            Where the machine has another byte than the golden model.
        MachineStopped, SimulatorError
            As `kiwicha.sim.steps.run_steps`.
        """
        orders = [
            self.plan.order(epoch, len(self.data.images))
            for epoch in range(first, self.plan.epochs if last is None else last)
        ]
        made = run_steps(machine, self._steps(orders, first))
        for epoch, order in enumerate(orders, first):
            yield self._epoch(epoch, order, made)

    def _epoch(
        self, epoch: int, order: NDArray[np.int64], made: Iterator[NDArray[np.uint8]]
    ) -> Epoch:
        losses, cycles, over = [], np.zeros(len(self.compiled.layers), np.int64), 0
        for step, batch in enumerate(order):
            golden = self.learner.step(epoch, step, batch)
            written = next(made)
            where = f"epoch {epoch + 1}, step {step + 1}"
            compiled = self.variants[golden.variant]
            self._compare(compiled, golden.result, written, where)
            over += self._saturated(golden.result, written, where)
            losses.append(golden.loss)
            cycles += _ends(compiled, written)
        names = [layer.nodes[0].name for layer in self.compiled.layers]
        return Epoch(
            epoch + 1, float(np.mean(losses)), self.learner.accuracy(),
            sum(int((np.abs(each) == LIMIT).sum()) for each in self.weights.values()),
            dict(zip(names, cycles.tolist(), strict=True)), len(order), over,
        )

    def macs(self, epoch: Epoch) -> dict[str, int]:
        """Return the useful multiply-accumulates of a step of an epoch, phase by phase."""
        return step_macs(self.compiled)

    def accuracy(self) -> float:
        """Return the share of the held-out images that the network gets right."""
        return self.learner.accuracy()

    def _saturated(self, golden: StepResult, written: NDArray[np.uint8], where: str) -> int:
        """Return what the register says of a step: how many weights saturated in it."""
        found = int.from_bytes(written[-4:].tobytes(), "little")
        if found != golden.saturated:
            raise Difference(
                f"{where}: {self._register} is {found}; the golden model has {golden.saturated}"
            )
        return found

    def _steps(self, orders: list[NDArray[np.int64]], first: int) -> Steps:
        compiled, beat, learner = self.compiled, self.config.beat_bytes, self.learner
        tensors = compiled.graph.tensors
        spans = {
            name: (compiled.addresses[name], tensors[name].size) for name in self._inputs
        }
        start = min(address for address, _ in spans.values()) // beat * beat
        end = max(address + size for address, size in spans.values())
        order = np.concatenate(orders)
        patches = np.zeros((len(order), -(-(end - start) // beat) * beat), np.uint8)
        for name, values in (
            (self.task.images, self._codes(order)),
            (LABELS, self.data.labels[order].astype(np.uint8)),
        ):
            address, size = spans[name]
            patches[:, address - start : address - start + size] = values
        places = [
            (epoch, step) for epoch, each in enumerate(orders, first) for step in range(len(each))
        ]
        variant = np.array([learner.variant(*place) for place in places], np.int64)
        base, limit = compiled.write_window
        image = compiled.load(learner.inputs(order[0]))
        address, size = compiled.program
        program = (address, -(-size // beat) * beat)
        programs = np.zeros((len(self.variants), program[1]), np.uint8)
        for number, each in enumerate(self.variants):
            words = each.image[address : address + program[1]]
            programs[number, : words.size] = words
        steps = Steps(
            image, compiled.program, programs, compiled.read_window, compiled.write_window,
            start, patches, variant, (base, -(-(limit - base) // beat) * beat),
        )
        steps = replace(steps, read=self._register)
        if self.plan.optimizer is None:
            return steps
        rates = learner.rates[first * learner.steps :]
        return replace(steps, written="update_rate", values=rates)

    @property
    def _register(self) -> str:
        """Which counts the weights that saturate."""
        return "sums_clamped" if self.plan.optimizer is None else "update_saturated"

    def _codes(self, order: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the bytes of the images of each step, as memory has them."""
        tensor = self.compiled.graph.tensors[self.task.images]
        place = tensor.layout.index(tensor.shape)
        return self.data.images[order].reshape(len(order), -1)[:, place].view(np.uint8)

    def _compare(
        self, compiled: CompiledModel, golden: StepResult, written: NDArray[np.uint8], where: str
    ) -> None:
        """Compare every tensor that the machine wrote, new weights first."""
        base, limit = compiled.write_window
        tensors, updates = compiled.graph.tensors, compiled.graph.updates
        names = [
            tensor.name for node in compiled.graph.nodes if node.kind not in ("view", "keep")
            # All but what is on chip alone, or a copy that was not needed.
            for tensor in node.results
            if tensor.name in compiled.addresses and tensor.name not in compiled.within
        ]
        for name in sorted(names, key=lambda each: each not in updates):
            tensor, address = tensors[name], compiled.addresses[name] - base
            found = tensor.from_memory(written[address : address + tensor.size])
            expected = golden.tensors[name]
            if not np.array_equal(found, expected):
                place = tuple(int(i) for i in np.argwhere(found != expected)[0])
                raise Difference(
                    f"{where}: '{name}' has {int((found != expected).sum())} other bytes than the "
                    f"golden model, first {list(place)}: {found[place]}, not {expected[place]}"
                )


def _ends(compiled: CompiledModel, written: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the cycles of each layer."""
    base = compiled.write_window[0]
    ends = []
    for layer in compiled.layers:
        record = written[layer.record - base :][:_RECORD].tobytes()
        ends.append(COUNTER_RECORD.from_bits(int.from_bytes(record, "little")).cycles)
    return np.array(ends, np.int64) - np.array([0, *ends[:-1]], np.int64)
