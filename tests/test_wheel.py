# SPDX-License-Identifier: Apache-2.0
"""What `pip install` brings: one package, which needs no checkout, from wheel or source archive."""

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from hatchling.build import build_sdist

import kiwicha

from .support.installed import borrow_tools

ROOT = Path(__file__).parents[1]
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
DISTRIBUTION = f"kiwicha-{kiwicha.__version__}"

#: Runs the command, then says which modules of ours did not come from the installation.
SCRIPT = """
import sys
from pathlib import Path
from kiwicha.cli.board import main
code = main(sys.argv[2:])
found = {name: str(module.__file__) for name, module in sys.modules.items()
         if name.split(".")[0] == "kiwicha"}
assert len(found) > 100, len(found)
print({name: file for name, file in found.items() if not file.startswith(sys.argv[1])})
sys.exit(code)
"""


def make_wheel(source, folder):
    """Build the wheel of a folder or an archive; return its path."""
    command = (*PIP, "wheel", "--no-deps", "--no-index", "--no-build-isolation")
    subprocess.run([*command, "-w", str(folder), str(source)], check=True, timeout=300)
    (wheel,) = folder.glob("*.whl")
    return wheel


def contents(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return make_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


def test_one_package_with_all_its_files(wheel):
    names = set(contents(wheel))
    assert {name.split("/")[0] for name in names} == {"kiwicha", f"{DISTRIBUTION}.dist-info"}
    here = {
        Path(above, name).relative_to(ROOT).as_posix()
        for above, _, files in os.walk(ROOT / "kiwicha", followlinks=True)
        for name in files
        if Path(above).name != "__pycache__"
    }
    assert {name for name in names if name.startswith("kiwicha/")} == here
    assert {
        "kiwicha/py.typed", "kiwicha/sim/testbench.sv", "kiwicha/boards/testbench.sv",
        "kiwicha/models/lenet5/lenet5_int8.onnx", "kiwicha/models/vit/digits8_test.npz",
    } <= here
    assert not [name for name in names if re.search(r"(^|/)(tests?|examples)(/|_)", name)]


def test_nothing_of_an_earlier_build_is_in_it(wheel, tmp_path):
    """A builder that works in build/lib would take whatever lies there."""
    left = ROOT / "build/lib/kiwicha_left_behind"
    left.mkdir(parents=True, exist_ok=True)
    (left / "__init__.py").touch()
    try:
        assert contents(make_wheel(ROOT, tmp_path)) == contents(wheel)
    finally:
        (left / "__init__.py").unlink()
        left.rmdir()


def test_the_source_archive_makes_the_same_wheel(wheel, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    archive = tmp_path / build_sdist(str(tmp_path))
    with tarfile.open(archive) as file:
        members = file.getmembers()
    assert all(member.isfile() for member in members), "a link would lead nowhere"
    assert not [member.name for member in members if "/tests/" in member.name]
    (tmp_path / "wheel").mkdir()
    assert contents(make_wheel(archive, tmp_path / "wheel")) == contents(wheel)


def test_lenet5_on_the_installed_package(wheel, tmp_path):
    """From a folder that is no checkout, and that stays empty."""
    site, cache, here = tmp_path / "site", tmp_path / "cache", tmp_path / "here"
    install = (*PIP, "install", "--no-deps", "--no-index", "--target", str(site), str(wheel))
    subprocess.run(install, check=True, timeout=300)
    added = {path.name for path in site.iterdir()}
    assert added == {"kiwicha", f"{DISTRIBUTION}.dist-info", "bin"}
    assert [path.name for path in (site / "bin").iterdir()] == ["kiwicha"]
    # Simulators are found by what is in them; the tests share those that are built.
    borrow_tools(cache)
    (cache / "kiwicha").mkdir()
    (ROOT / "build/sim").mkdir(parents=True, exist_ok=True)
    (cache / "kiwicha/sim").symlink_to(ROOT / "build/sim")
    here.mkdir()
    env = {**os.environ, "PYTHONPATH": str(site), "XDG_CACHE_HOME": str(cache)}
    command = [sys.executable, "-c", SCRIPT, str(site), "sim", "lenet5"]
    done = subprocess.run(
        [*command, "--samples", "1", "--preset", "tiny", "--report", str(tmp_path / "report.json")],
        cwd=here, env=env, capture_output=True, text=True, check=False, timeout=600,
    )
    assert done.returncode == 0, done.stderr
    *_, verdict, elsewhere = done.stdout.splitlines()
    assert verdict == "every bit equal (golden model, ONNX Runtime)"
    assert elsewhere == "{}"
    assert not list(here.iterdir())
    assert {path.name for path in (cache / "kiwicha").iterdir()} == {"runs", "sim", "verilog-cache"}
    version = [str(site / "bin/kiwicha"), "--version"]
    done = subprocess.run(
        version, cwd=here, env=env, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == f"kiwicha {kiwicha.__version__}\n"
