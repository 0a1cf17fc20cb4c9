# SPDX-License-Identifier: Apache-2.0
"""Networks of published packages: quantized by ONNX Runtime, run on the golden machine.

Takes wheels, ONNX files, or folders of them; downloads nothing. Float networks are quantized in
three forms on random inputs (`bench.published_forms`), others are taken as they are. Every output
is compared with ONNX Runtime, as it promises.
"""

import argparse
import sys
import tempfile
import traceback
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from textwrap import shorten
from time import monotonic
from typing import Any

import onnx

import kiwicha
from kiwicha.bench.page import write_tables
from kiwicha.bench.published_forms import (
    FORMS,
    Unusable,
    fixed,
    in_form,
    is_network,
    is_quantized,
)
from kiwicha.bench.table import Table, say, terminal
from kiwicha.errors import KiwichaError

__all__ = ["Source", "as_table", "main", "published", "sources"]

OUT, PAGE = Path("build/published"), Path("docs/zoo.md")

_LONG = 200  #: characters of a sentence: those of ONNX Runtime may be many more
_ENDED = "crash: the process ended"
_COLUMNS = ("network", "package", "MB", "inputs", *FORMS, "as it is")


@dataclass(frozen=True)
class Source:
    """An ONNX file: where it lies, in which archive if in one, and whose it is."""

    path: Path
    member: str
    package: str

    @property
    def name(self) -> str:
        """Of the file, without suffix."""
        return Path(self.member or self.path).stem

    def load(self) -> onnx.ModelProto:
        """Read the model, with the external data beside it."""
        if not self.member:
            return onnx.load(self.path)
        beside = str(Path(self.member).parent)
        with zipfile.ZipFile(self.path) as archive, tempfile.TemporaryDirectory() as folder:
            wanted = [each for each in archive.namelist() if str(Path(each).parent) == beside]
            archive.extractall(folder, wanted)
            return onnx.load(Path(folder) / self.member)


def sources(paths: Sequence[Path]) -> Iterator[Source]:
    """Yield every ONNX file in files, wheels and folders, once for each name in a package."""
    seen = set[tuple[str, str]]()
    for path in paths:
        for source in _inside(path):
            if (source.package, source.name) not in seen:
                seen.add((source.package, source.name))
                yield source


def _inside(path: Path) -> Iterator[Source]:
    if path.is_dir():
        for each in sorted(path.iterdir()):
            if each.is_dir() or each.suffix in (".onnx", ".whl", ".zip"):
                yield from _inside(each)
    elif path.suffix == ".onnx":
        yield Source(path, "", path.parent.name)
    else:
        with zipfile.ZipFile(path) as archive:
            members = sorted(each for each in archive.namelist() if each.endswith(".onnx"))
        for member in members:
            yield Source(path, member, " ".join(path.stem.split("-")[:2]))


def published(found: Sequence[Source], seconds: float) -> Table:
    """Return the table of all networks in all forms.

    Parameters
    ----------
    seconds : that one form of one network may take, with the fallback as much again.
    """
    values = []
    for source in found:
        for form in FORMS:
            value = _guarded(source, form, seconds)
            if value.get("other"):
                break
            values.append(value)
            say(f"{value['package']}, {source.name}, {value['form']}: {_cell(value)}")
            if value["form"] != form:
                break
    return as_table(values)


def as_table(values: Sequence[dict[str, Any]]) -> Table:
    """Return what was found, a row for each network; of those that never ran, the sentence."""
    networks: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for value in values:
        networks.setdefault((value["package"], value["network"]), []).append(value)
    exact = [name for name, found in networks.items() if any(_exact(each) for each in found)]
    how = (
        f"{len(exact)} of {len(networks)} networks run whole on the machine in some form, "
        f"{sum(map(_exact, values))} of {len(values)} models; random inputs, small images, batch "
        "1, operator set 17 where it was older. Numbers are predicted cycles.",
        "Exact: on the golden machine, each output as promised, by ONNX Runtime on the model as "
        "quantized. With the host: refused, and what `--host-fallback` made of it.",
        *(f"{name}: {shorten(found[0]['result'], _LONG)}"
          for (_, name), found in networks.items() if not any(_exact(each) for each in found)),
    )
    rows = tuple(_line(found) for found in networks.values())
    title = "Networks of published packages"
    return Table("published", title, _COLUMNS, rows, how, tuple(values))


def _exact(found: dict[str, Any]) -> bool:
    return bool(found["result"] == "exact")


def _line(found: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    first = max(found, key=lambda each: each["bytes"])
    cells = {"as it is" if each["form"] not in FORMS else each["form"]: _cell(each)
             for each in found}
    whole = [cells["as it is"]] if "as it is" in cells else []
    return (
        first["network"], first["package"], f"{first['bytes'] / 1e6:.1f}",
        first.get("shapes", "-"), *(cells.get(form, "-") for form in FORMS), *(whole or ["-"]),
    )


def _cell(found: dict[str, Any]) -> str:
    """Return a result in a few words."""
    if "fallback" in found:
        return f"with the host: {found['fallback']}"
    what = str(found["result"]).split(":")[0]
    return f"{what}, {found['cycles']:,}" if "cycles" in found else what


def _guarded(source: Source, form: str, seconds: float) -> dict[str, Any]:
    """Return what a process of its own finds; it may take long, or be killed."""
    found: dict[str, Any] = {
        "network": source.name, "package": source.package, "form": form, "bytes": 0,
        "result": _ENDED,
    }
    found |= _apart(source, form, False, seconds)
    if found.get("refused"):
        found["fallback"] = _apart(source, form, True, seconds).get("result", _ENDED)
    return found


def _apart(source: Source, form: str, fallback: bool, seconds: float) -> dict[str, Any]:
    """Return the last that a process said before it ended, or its time did."""
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(theirs, source, form, fallback))
    process.start()
    theirs.close()
    got: dict[str, Any] = {}
    end = monotonic() + seconds
    while True:
        if not ours.poll(max(0.0, end - monotonic())):
            got["result"] = f"not done in {seconds:g} s"
            break
        try:
            got = ours.recv()
        except EOFError:
            break
    process.kill()
    process.join()
    return got


def _measure(pipe: Connection, source: Source, form: str, fallback: bool) -> None:
    """Send one model's figures as plain values, what is known as soon as it is."""
    found: dict[str, Any] = {}
    try:
        model = source.load()
        found["bytes"] = model.ByteSize()
        if not is_network(model):
            pipe.send({"other": True})
            return
        model, feeds = fixed(model)
        shapes = ("x".join(map(str, each.shape)) or "1" for each in feeds.values())
        found["shapes"] = ", ".join(shapes)
        if is_quantized(model):
            found["form"] = "as it is"
        else:
            model = in_form(model, form, feeds)
        pipe.send(found)
        feeds = {each.name: feeds[each.name] for each in model.graph.input if each.name in feeds}
        found["cycles"] = kiwicha.compile_model(model, host_fallback=fallback).cycles
        pipe.send(found)
        run = kiwicha.run_golden(model, feeds, host_fallback=fallback)
        found["result"] = "exact" if run.exact else f"wrong: {run.verdict[0]}"
    except Unusable as error:
        found["result"] = f"not quantized: {error}"
    except KiwichaError as error:
        first, *nodes = (line.strip() for line in str(error).splitlines())
        more = f" (and {len(nodes) - 1} more)" if len(nodes) > 1 else ""
        found |= {"refused": True, "result": f"refused: {nodes[0] if nodes else first}{more}"}
    except Exception as error:  # whatever it is, the table says it
        traceback.print_exc()
        found["result"] = f"crash: {type(error).__name__}: {error}"
    pipe.send(found)


def main(argv: Sequence[str] | None = None) -> int:
    """Try what the arguments name, print and write the table; 1 after a crash or a wrong bit."""
    parser = argparse.ArgumentParser(prog="python -m kiwicha.bench.published", description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    parser.add_argument("--seconds", type=float, default=300.0, help="default: %(default)s")
    parser.add_argument("--write", action="store_true", help=f"into {PAGE}, too")
    arguments = parser.parse_args(argv)
    for path in arguments.paths:
        if not path.exists():
            parser.error(f"there is no '{path}'")
    table = published(list(sources(arguments.paths)), arguments.seconds)
    table.show(terminal())
    write_tables([table], OUT, page=PAGE if arguments.write else None)
    words = [value["result"] for value in table.values]
    words += [value["fallback"] for value in table.values if "fallback" in value]
    return int(any(word.startswith(("crash", "wrong")) for word in words))


if __name__ == "__main__":
    sys.exit(main())
