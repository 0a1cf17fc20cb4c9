# SPDX-License-Identifier: Apache-2.0
"""The machine follows the model: what it needs is added, and named where it must not be."""

import numpy as np
import pytest

import kiwicha
from kiwicha.cli.main import main
from kiwicha.errors import KiwichaError, Need, UnfitMachine
from kiwicha.machine.fields import field_value, with_fields
from kiwicha.machine.presets import PRESETS
from kiwicha.models import variants
from kiwicha.models.variants import Layer, Network, build
from kiwicha.sim.follow import BASE, additions, compile_following

from ..compiler.test_dynamic import quantized
from ..compiler.test_dynamic_real import residual_network

#: Networks that need more than the machine called default has: layers, and the fields with it.
MORE = {
    "long_normalization": (
        Network((2, 600), (
            Layer("LayerNormalization", ((600,), (600,)), attributes={"axis": -1}),)),
        {"special.entries": 1024},
    ),
    "long_softmax": (
        Network((2, 5000), (Layer("Softmax", attributes={"axis": -1}),)),
        {"special.bytes": 8192},
    ),
    "large_window": (
        Network((1, 1, 200, 200), (Layer("Conv", ((2, 1, 200, 200), (2,))),)),
        {"activation_bytes": 131072},
    ),
}


@pytest.mark.parametrize("name", ["lenet5", "lstm", "resnet8", "vit"])
def test_what_needs_no_more_gets_the_default(name):
    followed, given = (kiwicha.compile_model(name, machine) for machine in (None, "default"))
    assert followed.machine == BASE == PRESETS["default"]
    assert followed.prediction == given.prediction
    np.testing.assert_array_equal(followed.words, given.words)


def test_a_dynamic_model(dynamic, no_build, capfd):
    made = kiwicha.compile_model(dynamic)
    assert made.machine == BASE.replace(name="default-dynamic", dynamic=True)
    assert made.cycles == kiwicha.predict_cycles(dynamic, made.machine)
    golden = kiwicha.run_golden(dynamic)
    assert golden.exact
    assert golden.machine == made.machine
    assert main(["sim", str(dynamic), "--predict"]) == 0
    assert capfd.readouterr().out.splitlines()[0] == "machine: default with dynamic"
    assert main(["sim", str(dynamic), "--preset", "default"]) == 2
    out, err = capfd.readouterr()
    head, *lines = err.splitlines()[-3:]
    assert head == "kiwicha: error: 2 nodes do not fit the machine"
    for line in lines:
        assert line.endswith("is quantized dynamically; dynamic is false; true would do")
    assert not out


def test_a_dynamic_model_with_residual_sums(tmp_path):
    nodes, constants, shape = residual_network(np.random.default_rng(2), 1)
    model = quantized(tmp_path, nodes, constants, shape)
    made = kiwicha.compile_model(model)
    assert additions(made.machine.to_dict()) == "dynamic, real.bytes 16384"
    assert kiwicha.run_golden(model).exact


def test_a_run_is_on_that_machine(dynamic, monkeypatch):
    """What is built is what was compiled for, and its report says so."""
    class Stop(Exception):
        pass

    def build_of(config, *_, **__):
        raise Stop(config.name)

    monkeypatch.setattr("kiwicha.sim.inference.simulated_machine", build_of)
    with pytest.raises(Stop, match="^default-dynamic$"):
        kiwicha.simulate(dynamic)


@pytest.mark.parametrize("name", MORE)
def test_no_more_is_added_than_it_takes(name, monkeypatch):
    network, wanted = MORE[name]
    monkeypatch.setitem(variants.NETWORKS, name, network)
    model, _ = build(name)
    made = kiwicha.compile_model(model)
    words = ", ".join(f"{field} {value}" for field, value in wanted.items())
    assert additions(made.machine.to_dict()) == words
    assert made.machine == with_fields(BASE, {**wanted, "name": made.machine.name})
    assert made.machine.name.startswith("default-")
    assert kiwicha.run_golden(model).exact
    for field, value in wanted.items():
        less = with_fields(made.machine, {field: value // 2})
        with pytest.raises(UnfitMachine) as refused:
            kiwicha.compile_model(model, less)
        assert refused.value.needs == (Need(field, value // 2, value),)
        assert str(refused.value).endswith(f"; {field} is {value // 2}; {value} would do")


@pytest.mark.parametrize("preset", ["tiny", "small"])
def test_what_would_do_does(preset):
    """One change after the other, as the refusals say, until the vision transformer fits."""
    machine, changed = PRESETS[preset], []
    while True:
        try:
            made = kiwicha.compile_model("vit", machine)
            break
        except UnfitMachine as error:
            assert error.needs
            for need in error.needs:
                assert need.value == field_value(machine, need.field) != need.enough
                changed.append(need.field)
            machine = with_fields(machine, {each.field: each.enough for each in error.needs})
    assert made.machine == machine
    assert changed == ["special.lanes", "transposer"]


def test_units_that_are_missing_are_named_before_anything_is_cut(dynamic, monkeypatch):
    """A large model is refused at once, and the machine that follows it found at no cost."""
    monkeypatch.setattr(
        "kiwicha.compiler.emit.layer_steps.choose_tiling", lambda *_: pytest.fail("a layer is cut")
    )
    for model, machine, count in (("vit", "tiny", 18), (dynamic, "default", 2)):
        with pytest.raises(UnfitMachine, match=f"^{count} nodes do not fit the machine\n"):
            kiwicha.compile_model(model, machine)


def test_what_no_machine_can_do_is_said_at_once():
    def compiled(_config):
        raise UnfitMachine.together([UnfitMachine("a", [Need("rows", 1, 2)]), KiwichaError("b")])

    with pytest.raises(UnfitMachine, match="2 nodes do not fit the machine\n  a; rows is 1; 2 wou"):
        compile_following(compiled)


def test_of_two_needs_the_larger_counts():
    errors = [UnfitMachine(name, [Need("special.bytes", 4096, size)])
              for name, size in (("a", 8192), ("b", 16384), ("c", 8192))]
    assert UnfitMachine.together(errors).needs == (Need("special.bytes", 4096, 16384),)
    assert UnfitMachine.together(errors[:1]) is errors[0]
