# SPDX-License-Identifier: Apache-2.0
"""Where the command runs, reads and writes: read-only folders, no home, odd names."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import kiwicha.places
from kiwicha.cli.main import main
from kiwicha.machine.presets import read_config
from kiwicha.places import build_folder, checkout, user_cache

from ..support.installed import as_installed, borrow_tools
from ..support.slow import slow

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "import sys; from kiwicha.cli.start import main; sys.exit(main())"]

NAMES = {
    "my machine.toml": "my-machine", "v1.2.toml": "v1-2", "größer.toml": "gr-er",
    "../up/.toml": "toml", "…": "custom", "a" * 200 + ".toml": "a" * 64, "-x-.toml": "x",
}


@pytest.mark.parametrize("file", NAMES)
def test_names_of_configuration_files(file, tmp_path):
    path = tmp_path / "below" / file
    for folder in ("below", "up"):
        (tmp_path / folder).mkdir()
    path.write_text('preset = "tiny"\n')
    assert read_config(path).name == NAMES[file]
    path.write_text('preset = "tiny"\nname = "given"\n')
    assert read_config(path).name == "given"


@pytest.mark.parametrize("name", ['"a b"', '"ä"', '""', "5", '"' + "a" * 65 + '"', '"a\\n"'])
def test_names_that_are_refused(name, tmp_path, capfd):
    path = tmp_path / "machine.toml"
    path.write_text(f"name = {name}\n")
    assert main(["verilog", "--config", str(path), "--out", str(tmp_path / "out")]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"kiwicha: error: {path}: name is ")
    assert not (tmp_path / "out").exists()


def command(where, *arguments, **env):
    """Run the command in folder ``where``; variables that are None are taken away."""
    wanted = {**os.environ, **env}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=where, env=wanted, capture_output=True, text=True,
        check=False, timeout=300,
    )


#: What the environment says, and where the caches are then.
HOMES = {
    "a home": ({"HOME": "{}/home", "XDG_CACHE_HOME": None}, "home/.cache"),
    "a cache": ({"HOME": None, "XDG_CACHE_HOME": "{}/cache"}, "cache"),
    "nothing that can be written": (
        {"HOME": "/proc/nowhere", "XDG_CACHE_HOME": None}, f"kiwicha-cache-{os.getuid()}",
    ),
}


@slow("a cache")
@pytest.mark.parametrize("home", HOMES)
def test_verilog_from_a_read_only_folder(home, tmp_path):
    variables, cache = HOMES[home]
    env = {name: value and value.format(tmp_path) for name, value in variables.items()}
    env = {**as_installed(tmp_path / "unused"), **env, "TMPDIR": str(tmp_path)}
    borrow_tools(tmp_path / cache)
    config, out = tmp_path / "my machine 1.0.toml", tmp_path / "an öut folder"
    config.write_text('preset = "tiny"\n')
    # Nobody can write to /proc, whoever they are.
    done = command("/proc", "verilog", "--config", config, "--out", out, **env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == str(out / "accelerator.v")
    assert json.loads((out / "manifest.json").read_text())["name"] == "my-machine-1-0"
    (kept,) = tmp_path.rglob("my-machine-1-0-*.v")
    assert kept.parent == tmp_path / cache / "kiwicha/verilog-cache"


def test_sim_from_a_read_only_folder(icarus, folder, tmp_path):
    results = tmp_path / "résults of it"
    results.mkdir()
    done = command(
        "/proc", "sim", folder / "model.onnx", "--preset", "tiny", "--simulator", icarus,
        "--report", results / "re port.json", "--outputs", results / "y.npz",
        "--waves", results / "w ä.vcd", HOME=None, **as_installed(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    names = {path.name for path in results.iterdir()}
    assert names == {"re port.json", "y.npz", "w ä.vcd"}


def test_a_default_that_cannot_be_written_is_named():
    done = command("/proc", "verilog", "--preset", "tiny")
    assert done.returncode in (1, 2)
    assert done.stderr.splitlines()[-1].startswith("kiwicha: error: build")


@pytest.fixture
def installed(monkeypatch):
    """No checkout."""
    monkeypatch.setattr(kiwicha.places, "checkout", lambda: None)


def test_in_a_checkout_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert checkout() == ROOT
    assert build_folder() == ROOT / "build"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", [None, "", '[project]\nname = "mine"\n', "= [", "project = 1"])
def test_what_is_no_checkout(text, tmp_path, monkeypatch):
    monkeypatch.setattr(kiwicha.places, "__file__", str(tmp_path / "kiwicha/places.py"))
    if text is not None:
        (tmp_path / "pyproject.toml").write_text(text)
    assert checkout.__wrapped__() is None
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "kiwicha"\n')
    assert checkout.__wrapped__() == tmp_path


def test_a_checkout_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(kiwicha.places, "checkout", lambda: Path("/proc"))
    assert build_folder() == tmp_path / "cache/kiwicha"
    monkeypatch.setattr(kiwicha.places, "checkout", lambda: tmp_path)
    assert build_folder() == tmp_path / "build"
    real = os.access
    monkeypatch.setattr(
        kiwicha.places.os, "access",
        lambda place, mode: place != tmp_path / "build" and real(place, mode),
    )
    assert build_folder() == tmp_path / "cache/kiwicha"
    monkeypatch.setattr(kiwicha.places.os, "access", real)
    (tmp_path / "build").rmdir()
    (tmp_path / "build").write_text("a file")
    assert build_folder() == tmp_path / "cache/kiwicha"


def test_make_takes_no_space(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(kiwicha.places, "checkout", lambda: tmp_path / "a b")
    assert build_folder() == tmp_path / "cache/kiwicha"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c d"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert build_folder() == tmp_path / f"kiwicha-cache-{os.getuid()}/kiwicha"


@pytest.mark.parametrize("named", [None, "", "relative"])
def test_without_a_cache_folder_of_a_users_choice(named, installed, tmp_path, monkeypatch):
    """What is not absolute counts as not there, and makes no folder in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if named is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", named)
    assert build_folder() == tmp_path / "home/.cache/kiwicha"
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_temporary_cache_must_be_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    place = user_cache()
    assert place.parent == tmp_path
    place.chmod(0o777)
    with pytest.raises(PermissionError, match="is not this user's alone"):
        user_cache()
    place.rmdir()
    place.symlink_to(tmp_path)
    with pytest.raises(PermissionError, match="is not this user's alone"):
        user_cache()
