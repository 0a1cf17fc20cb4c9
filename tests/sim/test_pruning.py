# SPDX-License-Identifier: Apache-2.0
"""Networks that are pruned half-way, on simulated machines: every byte the golden's, less work."""

import numpy as np
import pytest

from kiwicha.cli.options import command_parser
from kiwicha.cli.train import run_train
from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.graph.training import training_graph
from kiwicha.errors import InputError
from kiwicha.golden.machine import Machine
from kiwicha.golden.training import evaluate_step
from kiwicha.sim.training.checkpoint import checkpoint_path, resume, save
from kiwicha.sim.training.pruning import PrunedTrainer, Pruning
from kiwicha.sim.training.run import train
from tests.compiler import test_training_branches as branches
from tests.compiler.test_training import CONFIGS, NARROW, NETWORKS, UNEQUAL, random_inputs
from tests.sim.test_training import PLAN, TASKS, clusters, simulated
from tests.support.slow import slow


def trainer(task: str, groups: str, config=NARROW, at: int = 1) -> PrunedTrainer:
    made = TASKS[task]()
    return PrunedTrainer(
        made, config, PLAN, clusters(made.network.images), Pruning(0.5, at, groups)
    )


def cycles(epoch) -> float:
    return sum(epoch.cycles.values()) / epoch.steps


@pytest.mark.parametrize("machine", ["narrow", "training"])
@pytest.mark.parametrize("name", ["linear", "convolution", "strides", *branches.NETWORKS])
def test_masked_step(machine: str, name: str) -> None:
    """The golden machine has the bytes of the golden model."""
    network, config = (NETWORKS | branches.NETWORKS)[name], CONFIGS[machine]
    graph = training_graph(network, 3, 4, masked=True)
    inputs, rng = random_inputs(network, 3, 1), np.random.default_rng(2)
    for layer, shape in network.weights.items():
        inputs[f"{layer}:mask"] = rng.integers(0, 2, shape).astype(np.int8)
        inputs[layer] *= inputs[f"{layer}:mask"]
    golden = evaluate_step(graph, inputs).tensors
    assert all(golden[node.y.name].shape == node.y.shape for node in graph.nodes)
    compiled = compile_graph(graph, config)
    run = Machine(config, compiled.load(inputs), compiled.read_window, compiled.write_window)
    run.run(compiled.words)
    for layer in network.weights:
        node = next(node for node in graph.nodes if node.y.name == f"{layer}:new")
        found = compiled.read(run.memory, node.y)
        assert np.array_equal(found, golden[f"{layer}:new"])
        assert not found[inputs[f"{layer}:mask"] == 0].any()
        assert (found != inputs[layer]).any()


@slow("linear-weights", "convolution-filters", "convolution-weights")
@pytest.mark.parametrize("groups", ["filters", "weights"])
@pytest.mark.parametrize("task", ["linear", "convolution"])
def test_weights_stay_away_on_any_machine(task: str, groups: str) -> None:
    found = []
    for config in (NARROW, UNEQUAL):
        each = trainer(task, groups, config)
        epochs = list(each.run(simulated(each)))
        assert [epoch.number for epoch in epochs] == [1, 2]
        assert (cycles(epochs[1]) < cycles(epochs[0])) == (groups == "filters")
        assert (each.macs(epochs[1]) != each.macs(epochs[0])) == (groups == "filters")
        assert epochs[1].accuracy == each.accuracy()
        found.append(each.weights)
    assert all(np.array_equal(value, found[1][name]) for name, value in found[0].items())
    for name in TASKS[task]().network.weights:
        mask = found[0][f"{name}:mask"]
        assert 0 < mask.sum() < mask.size
        assert not found[0][name][mask == 0].any()


def test_single_weights_of_branches_and_groups_go() -> None:
    """Each byte is compared on the way; filters of these belong to those of other layers."""
    each = trainer("branches", "weights")
    epochs = list(each.run(simulated(each)))
    assert [epoch.number for epoch in epochs] == [1, 2]
    for name, shape in each.task.network.weights.items():
        gone = each.weights[f"{name}:mask"] == 0
        assert gone.sum() == min(round(0.5 * gone.size), gone.size - 1), shape
        assert not each.weights[name][gone].any()
    with pytest.raises(InputError, match="legal: digits, digits-lenet5, or --prune-groups weights"):
        trainer("branches", "filters")


@slow("0")
@pytest.mark.parametrize("at", [0, 1])
def test_a_pruned_training_can_be_left_and_gone_on_with(tmp_path, at: int) -> None:
    kept = tmp_path / "kept.npz"
    whole = trainer("linear", "filters", at=at)
    train([whole], lambda *_: None)
    stopped = trainer("linear", "filters", at=at)
    run = stopped.run(simulated(stopped))
    save(checkpoint_path(kept, PLAN.seed), stopped, [next(run)])
    run.close()
    gone_on = trainer("linear", "filters", at=at)
    train([gone_on], lambda *_: None, kept, again=True)
    assert all((gone_on.weights[name] == value).all() for name, value in whole.weights.items())
    assert gone_on.pruned == whole.pruned
    other = trainer("linear", "weights", at=at)
    with pytest.raises(InputError, match="has layers"):
        resume(checkpoint_path(kept, PLAN.seed), other)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Pruning(1.0, 1), "--prune: is 1; legal: above 0, below 1"),
        (lambda: Pruning(float("nan"), 1), "--prune: is nan; legal: above 0, below 1"),
        (lambda: trainer("linear", "filters", at=2), "--prune-at: is 2; legal: 0 to 1"),
    ],
)
def test_refusals(make, message) -> None:
    with pytest.raises(InputError, match=f"^{message}$"):
        make()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prune-at", "1"], "--prune-at: only with --prune FRACTION"),
        (["--prune-groups", "filters"], "--prune-groups: only with --prune FRACTION"),
        (["--prune", "0.5", "--prune-at", "30"], "--prune-at: is 30; legal: 0 to 29"),
        (["--prune", "0.5", "--optimizer", "sgd"], "--prune: only with --optimizer niti; is sgd"),
        (
            ["-resnet8", "--prune", "0.5"],
            "--prune: digits-resnet8 has 'block1', whose outputs belong to those of another layer; "
            "legal: digits, digits-lenet5, or --prune-groups weights",
        ),
    ],
)
def test_options(arguments: list[str], message: str) -> None:
    pytest.importorskip("sklearn", reason="needs scikit-learn: run `pip install kiwicha[train]`")
    network = "digits" if arguments[0] != "-resnet8" else "digits-resnet8"
    given = [each for each in arguments if each != "-resnet8"]
    args = command_parser().parse_args(["train", network, *given])
    with pytest.raises(InputError, match=f"^{message}$"):
        run_train(args)


@pytest.mark.parametrize(
    "option", [("--prune", "0.5"), ("--prune-at", "1"), ("--prune-groups", "weights")]
)
def test_models_are_not_pruned(option: tuple[str, str]) -> None:
    args = command_parser().parse_args(["train", "model.onnx", "--data", "mine.npz", *option])
    with pytest.raises(InputError, match=f"^{option[0]}: only with digits"):
        run_train(args)
