# SPDX-License-Identifier: Apache-2.0
"""The zoo's networks as ``quantize_dynamic`` writes them: which run whole, which need the host.

On the golden machine, which has the simulated one's bits; compared with ONNX Runtime.
"""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from kiwicha.bench.table import Table, say
from kiwicha.errors import KiwichaError
from kiwicha.models.zoo import ZooNetwork
from kiwicha.sim.fallback import golden_fallback
from kiwicha.sim.follow import additions
from kiwicha.sim.golden_run import run_on_golden_machine

__all__ = ["dynamic_zoo", "tried"]

_COLUMNS = (
    "network", "runs", "programs", "on the host", "cycles predicted", "machine", "is", "off",
)


def tried(network: ZooNetwork, samples: int = 1) -> dict[str, Any]:
    """Return as plain values how one network runs: "whole" or with the "host", and the refusal.

    ``wrong`` says what breaks a promise; ``off`` is the greatest distance of an output to ONNX
    Runtime's, of the greatest value there: 0 where every bit of them is the same.
    """
    model, inputs = network.dynamic_model(), {"x": network.inputs(samples, 1)}
    found: dict[str, Any] = {
        "network": network.name, "runs": "whole", "refused": "", "programs": 1, "host": {}
    }
    try:
        ran = run_on_golden_machine(model, None, inputs)
    except KiwichaError as error:
        found |= {"runs": "host", "refused": str(error)}
    else:
        return found | {
            "cycles": ran.predicted_cycles, "machine": additions(ran.config.to_dict()),
            "wrong": list(ran.wrong), "off": _off(ran.outputs, ran.reference.outputs),
        }
    try:
        run = golden_fallback(model, None, inputs)
    except KiwichaError as error:
        return found | {"runs": "not at all", "wrong": [str(error)]}
    wrong = [sentence for program in run.programs for sentence in program.wrong]
    wrong += [f"{run.wrong} elements of the outputs"] if run.wrong else []
    return found | {
        "programs": len(run.programs), "host": dict(Counter(node.op for node in run.host)),
        "cycles": sum(program.predicted_cycles for program in run.programs), "wrong": wrong,
        "machine": additions(run.plan.config.to_dict()), "off": _off(run.outputs, run.expected),
    }


def _off(outputs: dict[str, Any], expected: dict[str, Any]) -> float:
    distances = [
        float(np.abs(outputs[name] - value).max() / max(float(np.abs(value).max()), 1e-30))
        for name, value in expected.items()
    ]
    return max(distances)


def _row(found: dict[str, Any]) -> tuple[str, ...]:
    if found["runs"] == "not at all":
        return (found["network"], found["runs"], *("-" for _ in _COLUMNS[2:-2]), "refused", "-")
    host = ", ".join(f"{count} {op}" if count > 1 else op for op, count in found["host"].items())
    verdict = "wrong" if found["wrong"] else "the same bits" if not found["off"] else "as promised"
    return (
        found["network"], found["runs"], str(found["programs"]), host or "-",
        f"{found['cycles']:,}", found["machine"], verdict,
        f"{found['off']:.1%}" if found["off"] else "-",
    )


def _brief(refused: str) -> str:
    """Return which nodes it is, without what would do: the page of operators has that."""
    return re.sub(r"; (must be|use) [^(]*(?=\(and|$)", " ", _sentence(refused)).strip()


def dynamic_zoo(networks: Iterable[ZooNetwork], samples: int = 1) -> Table:
    """Return the table of some networks, each on ``default`` with what it needs besides."""
    values = []
    for network in networks:
        values.append(tried(network, samples))
        say(" | ".join(_row(values[-1])))
    first = [
        f"{each['network']}: {_brief(each['refused'])}" for each in values if each["refused"]
    ]
    wrong = [f"{each['network']}: {'; '.join(each['wrong'])}" for each in values if each["wrong"]]
    whole = sum(each["runs"] == "whole" for each in values)
    how = (
        f"{whole} of {len(values)} networks run whole; weights are random, quantized by ONNX "
        "Runtime's quantize_dynamic (uint8 weights, ConvInteger and MatMulInteger).",
        "On the golden machine, compared with ONNX Runtime on the same inputs: the same bits, or "
        "as each layer promises, where averages are of codes, off by this share of the range.",
        "With the host: what --host-fallback leaves to it, and why:",
    )
    return Table(
        "zoo-dynamic", "Networks quantized dynamically", _COLUMNS, tuple(map(_row, values)),
        (*how, *first, *wrong), tuple(values),
    )


def _sentence(refused: str) -> str:
    """Return the first refusal, and how many more there are."""
    head, *lines = [line.strip() for line in refused.split("\n")]
    if not lines:
        return head
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    return lines[0] + more
