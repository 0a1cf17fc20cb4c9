# SPDX-License-Identifier: Apache-2.0
"""Runs models on a simulated LiteX SoC: VexRiscv, SDRAM, and firmware with the C driver.

What the firmware prints is compared with ONNX Runtime, or LiteRT of TFLite models, on the same
inputs: every byte of every output. DS-CNN is one of the MLPerf Tiny files, see
`bench.mlperf_tiny`; without it, it is skipped.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import kiwicha
from kiwicha.bench.mlperf_tiny import FOLDER, NETWORKS, VARIABLE
from kiwicha.bench.options import with_also
from kiwicha.bench.table import Table, say, terminal
from kiwicha.compiler.frontend.inputs import random_inputs
from kiwicha.compiler.frontend.source import lower_source
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.presets import PRESETS
from kiwicha.places import build_folder
from kiwicha.sim.progress import Progress
from kiwicha.sim.simulator import SimulatorError

__all__ = ["NETWORKS_ON_SOC", "SocNetwork", "main", "run_network"]


@dataclass(frozen=True)
class SocNetwork:
    """A network and the machine that it runs on."""

    name: str
    model: str
    machine: AcceleratorConfig

    def source(self) -> str | Path | None:
        """Return what `kiwicha.load_model` takes; None where the file is not there."""
        return NETWORKS[self.model].path if self.model in NETWORKS else self.model

    def samples(self, model: kiwicha.Model, count: int) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield inputs: test images of the models that come along, random ones of the others."""
        if self.model not in NETWORKS:
            images = model.test_inputs()["image"]
            yield from ({"image": images[index : index + 1]} for index in range(count))
            return
        values = lower_source(model.proto).inputs
        yield from (random_inputs(values, seed) for seed in range(1, count + 1))


NETWORKS_ON_SOC = {
    network.name: network
    for network in (
        SocNetwork("lenet5", "lenet5", PRESETS["tiny"]),
        SocNetwork("ds-cnn", "ds-cnn", with_also(PRESETS["small"], "tflite")),
    )
}


def run_network(
    network: SocNetwork, count: int, progress: Any, *, direct: bool = True, l2_bytes: int = 0
) -> dict[str, Any]:
    """Run a network whose file is there; return its figures as plain values.

    ``different`` is how many of the outputs' elements are not those of the model's runtime.
    """
    from kiwicha.boards.litex.simulation import run_on_soc

    source = network.source()
    assert source is not None
    model = kiwicha.load_model(source)
    folder = build_folder() / "soc" / network.name
    kiwicha.write_program(
        model, folder, network.machine, samples=1, c_source=True, progress=progress
    )
    program, samples = kiwicha.load(folder), list(network.samples(model, count))
    run = run_on_soc(
        program, network.machine, samples, direct=direct, l2_bytes=l2_bytes, progress=progress
    )
    different = elements = 0
    for sample, outputs in zip(samples, run.outputs, strict=True):
        expected = kiwicha.run_golden(model, sample, network.machine).expected
        elements += sum(array.size for array in expected.values())
        different += sum(_differ(outputs[name], array) for name, array in expected.items())
    return {
        "network": network.name, "machine": network.machine.name, "samples": count,
        "cycles": list(run.cycles), "predicted": program.cycles, "different": different,
        "elements": elements, "simulated": run.simulated, "seconds": run.seconds,
        "serial": run.text,
    }


def _differ(found: NDArray[Any], expected: NDArray[Any]) -> int:
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return expected.size
    return int(np.count_nonzero(found != expected))


def _row(found: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        found["network"], found["machine"], str(found["samples"]), f"{max(found['cycles']):,}",
        f"{found['predicted']:,}", f"{found['simulated']:,}", f"{found['seconds']:.0f}",
        "yes" if not found["different"] else f"{found['different']} of {found['elements']} differ",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the arguments name and print a table; 1 if an element differs."""
    parser = argparse.ArgumentParser(prog="python -m kiwicha.bench.soc", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NETWORK", help="default: all")
    parser.add_argument("--samples", type=int, default=2, metavar="N", help="default: 2")
    parser.add_argument(
        "--bus", action="store_true",
        help="the machine's memory port on the SoC's bus (Wishbone, 32 bits), not at LiteDRAM",
    )
    parser.add_argument(
        "--l2", type=int, default=0, metavar="BYTES", help="LiteX's L2 cache (default: none)"
    )
    parser.add_argument("--serial", action="store_true", help="print what the firmware says")
    arguments = parser.parse_args(argv)
    for name in arguments.names:
        if name not in NETWORKS_ON_SOC:
            parser.error(f"there is no '{name}'; networks: {', '.join(NETWORKS_ON_SOC)}")
    if arguments.samples < 1:
        parser.error(f"--samples {arguments.samples}: at least 1")
    values = []
    for name in arguments.names or NETWORKS_ON_SOC:
        network = NETWORKS_ON_SOC[name]
        if network.source() is None:
            file = NETWORKS[network.model].file
            say(f"{name}: skipped, {file} is not in {FOLDER}; run `{VARIABLE}=DIR make soc`")
            continue
        try:
            with Progress() as progress:
                values.append(run_network(
                    network, arguments.samples, progress,
                    direct=not arguments.bus, l2_bytes=arguments.l2,
                ))
        except (SimulatorError, RuntimeError) as error:
            parser.exit(1, f"error: {name}: {error}\n")
        if arguments.serial:
            print(values[-1]["serial"])
    columns = (
        "network", "machine", "samples", "cycles", "predicted", "SoC's clocks", "seconds",
        "outputs equal",
    )
    how = (
        "VexRiscv and LiteDRAM at one clock, a model of a 32-bit SDRAM; the generated Verilog on "
        "Verilator. Cycles by the machine's counter, the most of all samples; predicted for a "
        "memory that answers after 20 cycles, a beat a cycle.",
        "Outputs: every element that the firmware printed, against ONNX Runtime or LiteRT.",
    )
    Table(
        "soc", "On a simulated LiteX SoC", columns, tuple(map(_row, values)), how, tuple(values)
    ).show(terminal())
    return int(any(found["different"] for found in values))


if __name__ == "__main__":
    sys.exit(main())
