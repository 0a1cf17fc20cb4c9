# SPDX-License-Identifier: Apache-2.0
"""A model of which a part runs on the host, as files: programs, ONNX models, and their order.

docs/programs.md says what the fields mean.
"""

import importlib.metadata
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx

from kiwicha.compiler.frontend.onnx_node import node_name
from kiwicha.sim.export import SCHEMA, program_files
from kiwicha.sim.files import write_files
from kiwicha.sim.partition import MachineStage, Plan

__all__ = ["PLAN", "write_plan"]

PLAN = "plan.json"


def write_plan(
    name: str, plan: Plan, folder: Path, *, c_source: bool = False
) -> list[Path]:
    """Write the stages of a model called ``name``, all or none; return the files, `PLAN` first.
    With ``c_source`` each program's as C as well, called after the model and its place."""
    files, stages = dict[str, bytes](), list[dict[str, Any]]()
    for place, stage in enumerate(plan.stages):
        if isinstance(stage, MachineStage):
            made = program_files(
                name, stage.compiled, c_source=c_source, symbol=f"{name}_{place}"
            )
            for file, content in made.items():
                files[f"{place}/{file}"] = content
            told = {"kind": "program", "file": f"{place}/program.json"}
            part = stage.stage
        else:
            files[f"{place}/host.onnx"] = stage.model.SerializeToString(deterministic=True)
            told = {"kind": "host", "file": f"{place}/host.onnx"}
            part = stage
        graph = part.model.graph
        stages.append({
            **told, "inputs": _names(graph.input), "outputs": _names(graph.output),
            "nodes": [node_name(node) for node in part.nodes],
        })
    manifest = {
        "schema": SCHEMA,
        "kiwicha": importlib.metadata.version("kiwicha"),
        "model": name,
        "machine": {
            "name": plan.config.name, "fingerprint": plan.config.fingerprint,
            "config": plan.config.to_dict(),
        },
        "inputs": _names(plan.source.graph.input),
        "outputs": _names(plan.source.graph.output),
        "stages": stages,
    }
    text = json.dumps(manifest, indent=2, allow_nan=False) + "\n"
    paths = {folder / PLAN: text.encode()} | {folder / n: data for n, data in files.items()}
    write_files(paths)
    return list(paths)


def _names(values: Sequence[onnx.ValueInfoProto]) -> list[str]:
    return [value.name for value in values]
