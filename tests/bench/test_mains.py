# SPDX-License-Identifier: Apache-2.0
"""The tables' own commands: what they ask to be measured and print, with nothing measured."""

import importlib

import pytest

from kiwicha.bench.table import Table

TABLE = Table("one", "One table", ("what", "n"), (("a", "17"),), ("how",), ({"what": "a"},))
#: Command: the functions that measure, and options with what these have to be given.
MAINS = {
    "attention": (("attention",), "--preset wide --latency 3", {"latency": 3}),
    "decoders": (("decoders",), "--columns 5 --timeout 9", {"columns": 5, "timeout": 9.0}),
    "dynamic": (("dynamic",), "--preset wide --seed 2", {"latency": 20, "seed": 2}),
    "emission": (("emission",), "--rows 3 --columns 2", {}),
    "moves": (("moves",), "--preset wide --latency 7", {"latency": 7}),
    "quantization": (("block_scales", "several_ways"), "--seeds 1", {}),
    "sparse": (("formats", "sparse"), "--columns 64 --seed 3", {"seed": 3}),
    "speed": (("speed",), "--preset wide --seed 4", {"latency": 20, "seed": 4}),
    "up5k": (("smallest",), "--timeout 8", {"timeout": 8.0}),
    "update": (("updates",), "--preset wide --latency 5", {"latency": 5}),
    "utilization": (("utilization",), "--preset wide --latency 5", {"latency": 5, "seed": 1}),
}
OF_A_PRESET = [name for name, (_, options, _) in MAINS.items() if "--preset" in options]


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run a command with functions that return TABLE; return what these were called with."""

    def run(name, options):
        module, calls = importlib.import_module(f"bench.{name}"), []
        for function in MAINS[name][0]:
            monkeypatch.setattr(module, function, lambda *a, **k: calls.append((a, k)) or TABLE)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", [name, *options.split()])
        assert not module.main()
        return calls

    return run


@pytest.mark.parametrize("name", MAINS)
def test_command(run, name, capsys):
    functions, options, expected = MAINS[name]
    calls = run(name, options)
    assert len(calls) == len(functions)
    assert expected.items() <= calls[-1][1].items()
    if name in OF_A_PRESET:
        assert calls[0][0][0].name == "wide"
    assert capsys.readouterr().out.count("One table") == len(functions)


@pytest.mark.parametrize("name", OF_A_PRESET)
def test_unknown_preset_is_named(run, name, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(name, "--preset giant")
    assert stopped.value.code == 2
    assert "unknown preset 'giant'" in capsys.readouterr().err
