# SPDX-License-Identifier: Apache-2.0
"""LeNet-5 on a small machine: predicted cycles, golden bits, simulated bits, Verilog.

    python examples/lenet5.py [FOLDER]

FOLDER is where the Verilog goes, build/example unless given. The first run builds the simulation,
which takes a minute.
"""

import sys
from pathlib import Path

import numpy as np

import kiwicha

SAMPLES = 2


def main(folder: Path) -> None:
    """Take the digits network from a model to Verilog."""
    model = kiwicha.load_model("lenet5")  # or the path of an ONNX file of your own
    digits = model.test_inputs()
    images, labels = digits["image"][:SAMPLES], digits["labels"][:SAMPLES]

    # How long would it take? Nothing is built to know it. Machines are presets, TOML files or
    # objects with other numbers.
    machine = kiwicha.preset("tiny")
    wider = machine.replace(name="tiny-8-columns", columns=8)
    for candidate in (machine, wider, kiwicha.preset("small"), kiwicha.preset("default")):
        cycles = kiwicha.predict_cycles(model, candidate, samples=SAMPLES)
        print(f"{candidate.name:15} {cycles:9,} cycles predicted for {SAMPLES} digits")

    compiled = kiwicha.compile_model(model, machine, samples=SAMPLES)
    print(f"\n{machine.name}: {compiled.memory_bytes:,} bytes of memory")
    for layer in compiled.layers:
        print(f"  {layer.name:6} {layer.cycles:7,} cycles, bound by {layer.bound_by}")

    # The program in NumPy: exactly what ONNX Runtime computes.
    golden = kiwicha.run_golden(model, {"image": images}, machine)
    (output,) = golden.outputs
    np.testing.assert_array_equal(golden.outputs[output], golden.expected[output])
    print(f"\ngolden machine: every bit that of ONNX Runtime: {golden.exact}")

    # The hardware itself, simulated clock by clock.
    simulated = kiwicha.simulate(model, {"image": images}, machine)
    np.testing.assert_array_equal(simulated.outputs[output], golden.outputs[output])
    found = simulated.outputs[output].argmax(axis=1)
    print(f"simulation: {simulated.cycles:,} cycles, every bit right: {simulated.exact}")
    print(f"digits {labels.tolist()}, found {found.tolist()}")

    for path in kiwicha.write_verilog(machine, folder):
        print(path)
    sys.exit(0 if golden.exact and simulated.exact else 1)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("build/example"))
