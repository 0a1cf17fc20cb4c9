# SPDX-License-Identifier: Apache-2.0
"""What is learned, in which order, and what is kept of it."""

import json

import numpy as np
import pytest

from kiwicha.errors import InputError
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.sim.training.checkpoint import checkpoint_path, resume, save
from kiwicha.sim.training.loop import Epoch, Trainer
from kiwicha.sim.training.plan import Data, Plan, images_of, random_network
from kiwicha.sim.training.traffic import phase_of
from tests.compiler.test_training import NARROW


def data(images: int = 20, inputs: int = 6, classes: int = 3) -> Data:
    rng = np.random.default_rng(0)
    codes = rng.integers(-127, 128, (images + 5, inputs)).astype(np.int8)
    labels = rng.integers(0, classes, images + 5)
    return Data(codes[:-5], labels[:-5], codes[-5:], labels[-5:], classes)


def trainer(seed: int = 0, config: AcceleratorConfig = NARROW, **plan: object) -> Trainer:
    return Trainer(
        random_network("n", (6, 5, 3), seed), config,
        Plan(**{"batch": 4, "epochs": 2, "bits": (4, 3), "seed": seed, **plan}), data(),
    )


def test_a_plan_is_its_seed():
    first, again, other = (random_network("n", (6, 5, 3), seed) for seed in (1, 1, 2))
    assert all((first.weights[name] == again.weights[name]).all() for name in first.weights)
    assert any((first.weights[name] != other.weights[name]).any() for name in first.weights)
    orders = [Plan(seed=seed).order(epoch, 40).tolist() for seed, epoch in ((1, 0), (1, 1), (2, 0))]
    assert orders[0] == Plan(seed=1).order(0, 40).tolist()
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_random_weights_use_their_range():
    task = random_network("n", (64, 64, 10), 3)
    for layer in task.network.layers:
        greatest = np.abs(task.weights[layer.name].astype(int)).max()
        assert 64 <= greatest <= 127
        # What they stand for is Glorot's uniform distribution.
        bound = np.sqrt(6 / (layer.inputs + layer.outputs))
        assert 0.9 * bound < greatest * 2.0**layer.exponent <= 1.01 * bound


def test_each_image_is_once_in_an_epoch():
    order = Plan(batch=6).order(3, 20)
    assert order.shape == (3, 6)
    assert len(set(order.ravel())) == 18


def test_bits_are_in_equal_parts():
    plan = Plan(epochs=7, bits=(5, 3))
    assert [plan.bits_in(epoch) for epoch in range(7)] == [5, 5, 5, 5, 3, 3, 3]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Plan(batch=0), "batch is 0; legal: at least 1"),
        (lambda: Plan(epochs=0), "epochs is 0; legal: at least 1"),
        (lambda: Plan(bits=()), r"bits are \[\]; legal: numbers from 1 to 7"),
        (lambda: Plan(bits=(3, 8)), r"bits are \[3, 8\]; legal: numbers from 1 to 7"),
        (lambda: Plan(batch=21).order(0, 20), "batch is 21; there are 20 images"),
        (
            lambda: Data(*[np.zeros((2, 3), np.int8), np.array([0, 3])] * 2, 3),
            "labels: number 1 is 3; legal: 0 to 2",
        ),
        (
            lambda: images_of(np.array([[0, 1], [np.nan, 0]])),
            r"images: element \[1, 0\] is nan; legal: -1 to 1",
        ),
        (lambda: images_of(np.array([1.5])), r"images: element \[0\] is 1\.5; legal: -1 to 1"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(InputError, match=f"^{message}$"):
        make()


def test_images_use_the_whole_range():
    assert images_of(np.array([-1, 0, 0.5, 1])).tolist() == [-127, 0, 64, 127]


HISTORY = [Epoch(1, 1.5, 0.25, 3, {"a:FP": 10}, 5)]


def test_what_was_kept_comes_back(tmp_path):
    before = trainer()
    before.weights["fc1"] += np.int8(1)
    path = checkpoint_path(tmp_path / "run.npz", 0)
    assert path.name == "run-0.npz"
    save(path, before, HISTORY)
    wide = NARROW.replace(name="wide", rows=8, columns=8, weight_bytes=8192)
    after = trainer(config=wide)
    assert resume(path, after) == HISTORY
    assert all((after.weights[name] == before.weights[name]).all() for name in before.weights)


@pytest.mark.parametrize(
    ("other", "message"),
    [({"seed": 1}, "has plan"), ({"batch": 5}, "has plan"), ({"bits": (3,)}, "has plan")],
)
def test_another_plan_is_refused(tmp_path, other, message):
    path = tmp_path / "run.npz"
    save(path, trainer(), HISTORY)
    with pytest.raises(InputError, match=f"run.npz: {message}"):
        resume(path, trainer(**other))


def test_what_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none\.npz: there is no such checkpoint"):
        resume(tmp_path / "none.npz", trainer())
    path = tmp_path / "bad.npz"
    for content in (b"", b"PK\x03\x04 what", json.dumps({}).encode()):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"bad\.npz: not a checkpoint"):
            resume(path, trainer())
    np.savez(path, about=np.array("{}"))
    with pytest.raises(InputError, match=r"bad\.npz: not a checkpoint"):
        resume(path, trainer())


@pytest.mark.parametrize(
    ("layer", "phase"),
    [
        ("fc1:FP", "FP"), ("fc1:EB", "EB"), ("p:spread:EB", "EB"), ("fc1:WG", "WG"),
        ("fc1:T", "WG"), ("loss", "loss"), ("fc1", "FP"), ("logits:centred", "FP"),
        ("a:b", "FP"),
    ],
)
def test_phases_are_known_by_name(layer, phase):
    assert phase_of(layer) == phase
