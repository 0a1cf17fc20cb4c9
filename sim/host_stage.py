# SPDX-License-Identifier: Apache-2.0
"""Runs a stage of the host in ONNX Runtime, and measures its nodes one by one."""

import json
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiwicha.compiler.frontend.cut import Stage
from kiwicha.compiler.frontend.onnx_node import node_name, operator_name
from kiwicha.compiler.frontend.session import open_session, runtime_message
from kiwicha.errors import ModelError
from kiwicha.report.host import HostNode
from kiwicha.sim.partition import MachineStage, Plan

__all__ = ["host_nodes", "run_host"]

_RUNS = 5

Arrays = Mapping[str, NDArray[Any]]


def run_host(stage: Stage, plan: Plan, values: Arrays) -> tuple[Arrays, dict[str, float]]:
    """Return what a stage makes, and the seconds of each of its nodes, by name.

    The results are those of the stage as ONNX Runtime runs it by default; the seconds are medians
    of other runs, node by node as the model has them.

    Raises
    ------
    ModelError
        When ONNX Runtime cannot run it.
    """
    given = {name: values[name] for name in stage.inputs}
    try:
        session = open_session(stage.model, plan.settings, optimized=True)
        made = session.run(list(stage.outputs), given)
        with tempfile.TemporaryDirectory(prefix="kiwicha-") as folder:
            session = open_session(stage.model, plan.settings, profile=Path(folder) / "host")
            for _ in range(_RUNS):
                session.run(list(stage.outputs), given)
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    except Exception as error:  # its exception classes share no public base
        raise ModelError(
            f"ONNX Runtime cannot run the host's part: {runtime_message(error)}"
        ) from None
    taken = defaultdict[str, list[float]](list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            taken[event["name"].removesuffix("_kernel_time")].append(event["dur"] / 1e6)
    seconds = {name: median(times) * len(times) / _RUNS for name, times in taken.items()}
    results = {name: np.asarray(a) for name, a in zip(stage.outputs, made, strict=True)}
    return results, seconds


def host_nodes(plan: Plan, seconds: Iterable[Mapping[str, float]] = ()) -> tuple[HostNode, ...]:
    """Return a row for each node on the host.

    Parameters
    ----------
    seconds : of each stage of the host, in order; none where nothing was run.
    """
    measured, rows, programs = list(seconds), list[HostNode](), 0
    for stage in plan.stages:
        if isinstance(stage, MachineStage):
            programs += 1
            continue
        times = measured.pop(0) if measured else {}
        for node in stage.model.graph.node:
            if not plan.varying.intersection(node.output):
                continue
            rows.append(HostNode(
                node_name(node), operator_name(node), "host", programs,
                times.get(node_name(node)), None,
                sum(plan.sizes.get(name, 0) for name in node.input if name),
                sum(plan.sizes.get(name, 0) for name in node.output if name),
                plan.reasons.get(node_name(node), "belongs to what reads it"),
            ))
    total = sum(row.seconds or 0 for row in rows)
    return tuple(
        row if row.seconds is None or not total else replace(row, share=row.seconds / total)
        for row in rows
    )
