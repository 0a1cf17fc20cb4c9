# SPDX-License-Identifier: Apache-2.0
"""What optimizers refuse before anything is built, and the register of their rates."""

import numpy as np
import pytest

from kiwicha.cli.main import main
from kiwicha.compiler.emit.compile import compile_graph
from kiwicha.compiler.graph.optimizing import optimized
from kiwicha.errors import InputError, KiwichaError
from kiwicha.machine.optimizer import rate_word
from kiwicha.sim.training.learner import Learner
from kiwicha.sim.training.optimizer import Optimizer
from kiwicha.sim.training.plan import Plan, images_of, random_network
from tests.compiler.test_training import NARROW

from .test_training import clusters

TASK = random_network("linear", (9, 7, 2), 3)


def sgd(**fields) -> Optimizer:
    return Optimizer(**{"name": "sgd", "rates": (0.1,), **fields})


@pytest.mark.parametrize(("make", "message"), [
    (lambda: sgd(name="lamb"), "--optimizer is 'lamb'; legal: niti, sgd, momentum, adagrad, "),
    (lambda: sgd(rates=(0.1, float("nan"))), r"--rate is \[0.1, nan\]; legal: numbers above 0"),
    (lambda: sgd(rates=(0.0,)), r"--rate is \[0.0\]; legal: numbers above 0"),
    (lambda: sgd(rates=(float("inf"),)), r"--rate is \[inf\]"),
    (lambda: sgd(accumulate=0), "--accumulate is 0; legal: 1 to 256 batches"),
    (lambda: sgd(decay=-1.0).formats(TASK.units), "--optimizer sgd: decay is -1.0; legal: 0, "),
    (lambda: sgd(decay=float("nan")).formats(TASK.units), "--optimizer sgd: decay is nan; legal"),
    (lambda: sgd(decay=1e9).formats(TASK.units), "--optimizer sgd: decay is 1000000000.0; legal"),
])
def test_refuses(make, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        make()


@pytest.mark.parametrize("rate", [1e-14, 100.0])
@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_a_rate_that_no_format_holds(name: str, rate: float) -> None:
    plan = Plan(4, 2, optimizer=Optimizer(name=name, rates=(0.01, rate)))
    message = f"^--rate is {rate:g}; legal with these layers, in step [45]: .* to "
    with pytest.raises(InputError, match=message):
        Learner(TASK, plan, clusters((9,)))


def test_more_batches_than_there_are() -> None:
    plan = Plan(4, 2, optimizer=sgd(accumulate=7))
    with pytest.raises(InputError, match="^--accumulate is 7; there are 6 batches"):
        Learner(TASK, plan, clusters((9,)))


def test_a_port_that_is_too_wide() -> None:
    formats = sgd().formats(TASK.units)
    with pytest.raises(KiwichaError, match="^axi_data_width is 512; legal with optimizers: 32 to"):
        optimized(TASK.graph(4, 1), TASK.units, formats, 4, 64)


def test_a_machine_without_the_engine() -> None:
    learner = Learner(TASK, Plan(4, 1, optimizer=sgd()), clusters((9,)), NARROW.beat_bytes)
    with pytest.raises(KiwichaError, match=r"fc2:UP \(update\): is done by UPDATE") as refused:
        compile_graph(learner.graphs[0], NARROW)
    assert "update.lanes" in str(refused.value)


def test_rates_are_the_real_ones() -> None:
    """What the register and the layers' shifts make together, beside the number asked for."""
    optimizer = Optimizer(name="sgd", rates=(0.37, 0.0123))
    words = optimizer.words(TASK.units, np.array([1, 2]), np.array([0.0, 0.5])).tolist()
    for name, form in optimizer.formats(TASK.units).items():
        weight = TASK.units.weights[name] + 7  # exponent of the 32-bit weights
        for word, rate in zip(words, optimizer.rates, strict=True):
            shift = form.fields["rate_shift"] + (word >> 17) + 4
            # A weight's last bits by a gradient's last bit.
            moved = (word & 0x1FFFF) * 2.0**-shift
            assert moved == pytest.approx(rate * 2.0 ** (form.unit - (weight - 31)), rel=2e-5)
    assert rate_word(1.0) == 1 << 16


@pytest.mark.parametrize(("options", "message"), [
    (["--optimizer", "lamb"], "--optimizer is 'lamb'; legal: niti, sgd"),
    (["--rate", "0.1"], "--rate: NITI's rate is --bits; legal with: sgd"),
    (["--accumulate", "2"], "--accumulate: NITI's rate is --bits"),
    (["--optimizer", "sgd", "--bits", "3"], "--bits: only with --optimizer niti"),
    (["--optimizer", "sgd", "--rate", "nan"], r"--rate is \[nan\]"),
    (["--optimizer", "adam", "--rate", "1000"], "--rate is 1000; legal with these layers"),
    (["--optimizer", "sgd", "--preset", "training"], "is done by UPDATE"),
])
def test_the_command_says_so(options, message, capsys, monkeypatch) -> None:
    monkeypatch.setattr("kiwicha.cli.train.digits", lambda: clusters((9,)))
    assert main(["train", "digits", "--batch", "4", "--epochs", "1", *options]) == 2
    assert message.replace("\\", "") in " ".join(capsys.readouterr().err.split())


def test_numbers_that_are_none() -> None:
    with pytest.raises(InputError, match=r"^images: element \[1, 0\] is nan; legal: -1 to 1"):
        images_of(np.array([[0.0], [np.nan]]))
