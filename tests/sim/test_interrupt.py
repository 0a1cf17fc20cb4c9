# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C at any moment: one line, exit code 130, no process left, nothing half written."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ..support.installed import as_installed
from ..support.slow import slow

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "import sys; from kiwicha.cli.start import main; sys.exit(main())"]
MARK = "KIWICHA_INTERRUPTED"
ENDS = {signal.SIGINT: (130, "interrupted"), signal.SIGTERM: (143, "terminated")}
STAGES = (
    "lowering with ONNX Runtime", "generating Verilog", "building the simulation", "simulating",
)


class Command:
    """A running command in a folder of its own, whose children are told by a variable."""

    def __init__(self, folder, command, *arguments):
        self.mark = f"{MARK}={folder}/{time.monotonic_ns()}"
        self.temporary = folder / "temporary"
        self.temporary.mkdir(exist_ok=True)
        name, value = self.mark.split("=")
        env = {**os.environ, **as_installed(folder), name: value, "TMPDIR": str(self.temporary)}
        self.process = subprocess.Popen(
            [*command, *arguments], cwd=folder, env=env, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True,
            # What runs in a shell's background ignores Ctrl-C, and so would its children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self.lines = []

    def begun(self):
        """Wait until the command has taken over the signals; before, it is not ours that runs."""
        status = Path(f"/proc/{self.process.pid}/status")
        while True:
            caught = re.search(r"^SigCgt:\s*(\w+)$", status.read_text(), re.MULTILINE)
            if caught and int(caught[1], 16) >> (signal.SIGTERM - 1) & 1:
                return self
            assert self.process.poll() is None
            time.sleep(0.001)

    def reaches(self, stage):
        """Wait for a stage."""
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))
            if stage in line:
                return self
        raise AssertionError(f"{stage} never came: {self.lines}")

    def end(self, number=signal.SIGINT):
        """Send a signal and check all that is promised."""
        self.process.send_signal(number)
        code, (*before, last) = ENDS[number][0], self._rest()
        assert self.process.returncode == code, (before, last)
        assert last == f"kiwicha: error: {ENDS[number][1]}"
        assert all(re.match(r" *\d+\.\d s  \w", line) for line in before), before
        assert not self.left()
        # ONNX Runtime leaves a file of its own where temporary files go, interrupted or not.
        assert {path.name for path in self.temporary.iterdir()} <= {".ses"}

    def _rest(self):
        _, rest = self.process.communicate(timeout=60)
        return self.lines + rest.splitlines()

    def left(self):
        """Processes that have the variable, by command."""
        found = []
        for process in Path("/proc").iterdir():
            try:
                if self.mark.encode() in (process / "environ").read_bytes().split(b"\0"):
                    found.append((process / "cmdline").read_bytes())
            except OSError:  # no process, or gone
                continue
        return found


def nothing_half_done(folder):
    """Check that only whole files and whole builds are left, and those in the cache alone."""
    assert {path.name for path in folder.iterdir()} <= {"cache", "site", "temporary"}
    kept = folder / "cache/kiwicha"
    for path in kept.rglob("*"):
        place = path.relative_to(kept).parts
        if path.is_file() and ".locks" not in place:
            if place[0] == "sim":
                assert whole(kept.joinpath(*place[:2])), path
                continue
            assert place[0] == "verilog-cache", path
            assert not path.name.startswith("."), path
            assert path.read_text().endswith("endmodule\n"), path
    left = [path.name for path in (kept / "runs").glob("*")]
    assert set(left) <= {".locks"}, left


def whole(build):
    """Whether a build was done before the signal; it stays then."""
    made = any((build / name).exists() for name in ("sim.vvp", "simulation"))
    return made and not build.name.endswith(".partial")


def interrupt(folder, seed, seconds, number=signal.SIGINT):
    command = Command(folder, COMMAND, "verilog", "--preset", "tiny", "--out", "new/out").begun()
    time.sleep(random.Random(seed).random() * seconds)
    command.end(number)
    nothing_half_done(folder)
    assert not (folder / "new").exists()


# Importing takes most of the first second.
@slow(*range(4, 30))
@pytest.mark.parametrize("seed", range(30))
def test_at_the_start(seed, tmp_path):
    interrupt(tmp_path, seed, 0.3)


@slow(*range(3, 30))
@pytest.mark.parametrize("seed", range(30))
def test_any_moment_of_generating(seed, tmp_path):
    command = Command(tmp_path, COMMAND, "verilog", "--preset", "tiny", "--out", "new/out")
    command.begun().reaches("generating Verilog")
    time.sleep(random.Random(seed).random() * 1.2)  # of two seconds or more
    command.end()
    nothing_half_done(tmp_path)
    assert not (tmp_path / "new").exists()


def test_terminated(tmp_path):
    interrupt(tmp_path, 0, 0.5, signal.SIGTERM)


@slow("verilator")
@pytest.mark.parametrize(
    "simulator", [pytest.param("icarus", marks=pytest.mark.icarus), "verilator"]
)
def test_every_stage(simulator, folder, tmp_path):
    options = ["--preset", "tiny", "--simulator", simulator, "--report", "r.json", "--waves"]
    chosen = random.Random(simulator)
    # Only the last stage needs the build, and Verilator's takes a minute.
    for stage in STAGES if simulator == "icarus" else STAGES[-2:-1]:
        command = Command(
            tmp_path, COMMAND, "sim", str(folder / "model.onnx"), *options, "w.vcd"
        ).begun()
        command.reaches(stage)
        time.sleep(chosen.random())
        command.end()
        nothing_half_done(tmp_path)
        assert not [path.name for path in tmp_path.iterdir() if path.is_file()]


def script(folder, text):
    """Run Python that has taken over the signals and says when it is ready."""
    lines = "import os, time\nfrom kiwicha.sim.interrupt import *\ncatch_signals()\n" + text
    return Command(folder, [sys.executable, "-c", lines]).begun()


READY = "os.write(2, b'    0.0 s  ready\\n')\n"


def test_nothing_swallows_it(tmp_path):
    text = (
        READY + "while True:\n  try:\n    time.sleep(9)\n"
        "  except BaseException:\n    os.write(2, b'swallowed\\n')\n"
    )
    script(tmp_path, text).reaches("ready").end()


def test_orphans_of_children_are_found(tmp_path):
    text = (
        "import subprocess\n"
        "subprocess.run(['sh', '-c', 'setsid sh -c \"sleep 97 & sleep 98\" & exit'])\n"
        + READY + "time.sleep(9)\n"
    )
    command = script(tmp_path, text).reaches("ready")
    while b"sleep\x0097\0" not in command.left():
        time.sleep(0.01)
    command.end()


def test_results_appear_together(tmp_path):
    text = (
        "from pathlib import Path\nimport kiwicha.sim.files as f\n"
        "real = Path.replace\n"
        "def replace(*places):\n"
        "  os.write(2, b'    0.0 s  ready\\n') if not Path('a').exists() else None\n"
        "  time.sleep(0.5)\n  return real(*places)\n"
        "Path.replace = replace\n"
        "f.write_files({Path('a'): b'1', Path('new/b'): b'2'})\ntime.sleep(9)\n"
    )
    script(tmp_path, text).reaches("ready").end()
    assert (tmp_path / "a").read_text() + (tmp_path / "new/b").read_text() == "12"


def test_a_pipe_that_nobody_reads(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    text = (
        "from pathlib import Path\nfrom kiwicha.sim.files import write_file\n"
        + READY + "write_file(Path('pipe'), b'1')\n"
    )
    command = script(tmp_path, text).reaches("ready")
    time.sleep(0.2)
    command.end()


def test_ignored_signals_stay_ignored(tmp_path):
    lines = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    text = lines + "from kiwicha.sim.interrupt import catch_signals\ncatch_signals()\n" + (
        "import os\nos.kill(os.getpid(), signal.SIGINT)\nprint('still here')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "still here\n"


def test_too_late_is_no_failure():
    text = (
        "import os, signal, kiwicha.cli.main\n"
        "kiwicha.cli.main.main = lambda *_: 0\nfrom kiwicha.cli.start import main\n"
        "code = main()\nos.kill(os.getpid(), signal.SIGINT)\nraise SystemExit(code)\n"
    )
    subprocess.run([sys.executable, "-c", text], cwd=ROOT, check=True)
