# SPDX-License-Identifier: Apache-2.0
"""The command ``kiwicha sim``: reads the files, runs the model, prints and writes the results."""

import argparse
import io
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape

from kiwicha.api.model import Model, load_model
from kiwicha.api.run import RunResult, simulate
from kiwicha.cli.hardware import machine, print_additions
from kiwicha.cli.predict import run_predict
from kiwicha.cli.reports import print_advice, report_files, report_paths
from kiwicha.compiler.frontend.batch import batched_inputs
from kiwicha.compiler.frontend.inputs import load_inputs
from kiwicha.compiler.frontend.session import open_session
from kiwicha.compiler.frontend.source import Source
from kiwicha.errors import InputError, printable
from kiwicha.machine.modes import RequantizeMode
from kiwicha.report.blocks import block_lines
from kiwicha.report.host import host_tables
from kiwicha.report.report import Accuracy, Report, differences
from kiwicha.report.statistics import statistics_tables
from kiwicha.report.tables import layer_tables
from kiwicha.report.terminal import output_console
from kiwicha.sim.files import check_destinations, write_files
from kiwicha.sim.progress import Progress
from kiwicha.sim.scratch import temporary_files
from kiwicha.sim.shipped import find_model

__all__ = ["run_sim"]

_LABELS = "labels"
_LONGEST = (1 << 16) - 1  # bytes of a name in a zip archive

Arrays = dict[str, NDArray[Any]]


def run_sim(args: argparse.Namespace) -> int:
    """Run a model, or predict its run; returns 0 only if every bit is right, or the model fits.

    Raises
    ------
    KiwichaError
        For bad input, before anything is built or written.
    SimulatorError, MachineStopped
        When the simulation cannot be built or breaks, or the machine reports an error.
    """
    if args.predict:
        return run_predict(args)
    config = machine(args)
    files = find_model(args.model)
    source = args.input or files.inputs
    check_destinations(
        {"--waves": args.waves, **report_paths(args.report), "--outputs": args.outputs},
        {"--waves": (".vcd", ".fst")},
        [path for path in (files.path, source, args.config) if path is not None],
    )
    model = load_model(args.model, dict(args.dim))
    if args.outputs is not None:
        _check_names(model.proto)
    arrays, labels = (None, None) if source is None else _load(source, model.proto, args.samples)
    float32 = None if files.float32 is None else load_model(files.float32)
    with temporary_files(), Progress() as progress:
        result = simulate(
            model, arrays, config,
            samples=args.samples, simulator=args.simulator, waves=args.waves,
            latency=args.latency, stall=args.stall, seed=args.seed, statistics=args.statistics,
            blocks=args.blocks, random=(args.random_seed, args.random_step),
            host_fallback=args.host_fallback, progress=progress,
        )
        report = result.report
        assert report is not None
        if labels is not None and arrays is not None:
            report = replace(report, accuracy=_accuracy(result, labels, float32, arrays))
    files_to_write: dict[Path, bytes] = {}
    if args.report is not None:
        files_to_write |= report_files(report, args.report)
    if args.outputs is not None:
        files_to_write[args.outputs] = _npz(result.outputs)
    write_files(files_to_write)
    console = output_console()
    if config is None:
        print_additions(report.config, console)
    _print(report, console)
    return 0 if result.exact else 1


def _load(
    path: Path, model: Source, samples: int | None
) -> tuple[Arrays, NDArray[Any] | None]:
    """Return the graph inputs in a file, cut to ``samples``, and the labels beside them."""
    arrays = load_inputs(path)
    names = {value.name for value in model.graph.input}
    labels = None if _LABELS in names else arrays.pop(_LABELS, None)
    try:
        for name in sorted(batched_inputs(model.graph) & set(arrays)):
            if not arrays[name].ndim:
                continue  # its shape is wrong, as will be said
            held = len(arrays[name])
            if held < (samples or 1):
                wanted = f"; --samples asks for {samples}" if samples else ""
                raise InputError(f"input '{name}' holds {held} samples{wanted}")
            arrays[name] = arrays[name][:samples]
            if labels is None:
                continue
            if labels.shape != (held,) or labels.dtype.kind not in "iu":
                raise InputError(
                    f"'{_LABELS}' is {labels.dtype} {labels.shape}; must be one integer for each "
                    f"of the {held} samples of '{name}'"
                )
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return arrays, None if labels is None or not labels.ndim else labels[:samples]


def _check_names(model: Source) -> None:
    """Raise InputError where an output's name is too long for an archive."""
    for value in model.graph.output:
        if (size := len(f"{value.name}.npy".encode())) > _LONGEST:
            raise InputError(
                f"--outputs: a graph output's name has {size - 4} bytes; an npz file takes "
                f"{_LONGEST - 4} at most"
            )


def _accuracy(
    result: RunResult, labels: NDArray[Any], float32: Model | None, inputs: Arrays
) -> Accuracy | None:
    """Return the shares of right classes; None where the outputs are not scores of classes."""
    if [array.shape[:1] for array in result.outputs.values() if array.ndim == 2] != [labels.shape]:
        return None
    if len(result.outputs) != 1:
        return None

    def share(outputs: Mapping[str, NDArray[Any]]) -> float:
        scores = next(iter(outputs.values()))
        return float((scores.argmax(axis=1) == labels).mean())

    before = None
    if float32 is not None:
        session = open_session(float32.only_onnx("the float model"), ())
        before = share({"scores": session.run(None, inputs)[0]})
    return Accuracy(len(labels), share(result.expected), share(result.outputs), before)


def _npz(arrays: Arrays) -> bytes:
    """Return an npz file; any name is possible, and the same arrays give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            data = io.BytesIO()
            np.lib.format.write_array(data, np.asarray(array, order="C"), allow_pickle=False)
            # The default time stamp of an entry is 1980, not now.
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), data.getvalue())
    return buffer.getvalue()


def _shown(text: str) -> str:
    return escape(printable(text))


def _print(report: Report, console: Console) -> None:
    for table in (
        *layer_tables(report, console), *host_tables(report.host, console),
        *statistics_tables(report.statistics, console),
    ):
        console.print(table)

    def line(text: str) -> None:
        console.print(text, soft_wrap=True)

    reference = report.reference
    tflite = reference["runtime"] != "onnxruntime"
    runtime = "LiteRT" if tflite else "ONNX Runtime"
    for text in block_lines(report.blocks):
        line(_shown(text))
    for note in report.notes:
        line(f"{_shown(note['node'])}: {_shown(note['text'])}")
    for layer in report.layers:
        if layer.rounded:
            line(
                f"{_shown(layer.name)}: {layer.rounded:,} of {layer.compared:,} elements are one "
                f"code from {runtime}'s" + " float" * (not tflite)
            )
        if layer.off:
            line(
                f"[yellow]warning: {_shown(layer.name)}: ONNX Runtime itself is up to {layer.off} "
                "codes from the model as it is written; look at alpha, beta and axes of scales[/]"
            )
    print_advice(report, console)
    features = ", ".join(reference["features"]) or "no dot-product features"
    settings = "".join(f", {setting}" for setting in reference["settings"])
    line(
        f"reference: {reference['runtime']} {reference['version']}, the model {reference['model']}"
        f"{settings}, on " + escape(f"{reference['processor']} ({features})")
    )
    mode = report.config["requantize_mode"]
    if not reference["compared"] and (tflite or mode != RequantizeMode.ONNX):
        line(f"not compared with it (requantize mode {mode})")
    elif not reference["whole"]:
        line(
            "not every layer is runtime-exact: each is compared with it on the inputs that it had; "
            f"{reference['outputs_differ']:,} of {reference['outputs']:,} output elements differ"
        )
    if (accuracy := report.accuracy) is not None:
        shares = [(f"{runtime} int8", accuracy.runtime), ("RTL", accuracy.machine)]
        if accuracy.float32 is not None:
            shares.insert(0, ("fp32", accuracy.float32))
        text = ", ".join(f"{name} {share:.2%}" for name, share in shares)
        line(f"accuracy on {accuracy.samples} samples: {text}")
    line(
        f"{report.cycles:,} cycles simulated in {report.seconds:.1f} s: "
        f"{report.cycles_per_second:,.0f} cycles per second"
    )
    if report.waves is not None:
        line(f"waveform: {_shown(report.waves)}")
    if wrong := differences(report):
        line(f"[bold red]WRONG: {_shown('; '.join(wrong))}[/]")
    else:
        judges = ["golden model"] + [runtime] * reference["compared"]
        differ = reference["compared"] and reference["outputs_differ"]
        rounded = any(layer.rounded for layer in report.layers)
        what = "every bit as promised" if differ or rounded else "every bit equal"
        line(f"[green]{what}[/] ({', '.join(judges)})")
