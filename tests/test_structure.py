# SPDX-License-Identifier: Apache-2.0
"""The shape of the house: units come in threes, imports run one way, every file is small."""

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

PACKAGES = (
    "machine", "hw", "golden", "cost", "compiler", "report", "sim", "drivers", "boards", "models",
    "bench", "kiwicha",
)

#: Folders of hw: the units of one part of the machine each.
GROUPS = tuple(sorted({path.parent.name for path in (ROOT / "hw").glob("*/*.py")}))

#: Rooms of the project that each room may import from, besides itself.
MAY_IMPORT = {
    "errors": (),
    "places": (),
    "machine": (),
    "hw": ("machine", "places"),
    "golden": ("machine",),
    "cost": ("machine",),
    "compiler": ("machine", "cost", "errors"),
    "report": ("errors",),
    "models": (),
    "drivers": ("errors",),
    "sim": (
        "machine", "hw", "golden", "cost", "compiler", "report", "models", "errors", "places",
    ),
    "boards": (
        "machine", "hw", "golden", "cost", "compiler", "report", "models", "errors", "places",
        "sim", "drivers",
    ),
    "bench": (
        "machine", "hw", "golden", "cost", "compiler", "report", "models", "errors", "places",
        "sim", "drivers", "boards", "cli",
    ),
    "api": ("machine", "compiler", "report", "errors", "sim"),
    "cli": ("machine", "golden", "compiler", "report", "errors", "sim", "boards", "api"),
}

#: Rooms inside two of them: each may import from itself and from those before it, and those side
#: by side, which are in one set, not from each other.
ORDER = {
    "hw": (
        {"verilog"}, {"parts"}, {"sparse", "statistics"},
        {"control", "load", "compute", "vector", "special", "store", "update"},
        {"accelerator"},
    ),
    "compiler": ({"graph"}, {"frontend"}, {"ops"}, {"schedule"}, {"emit"}),
}

#: Longest file, in lines. Longer ones hold more than one idea.
CEILING = 350

#: Longest method of the hardware, in lines: more is no description of one thing.
PAGE = 100


def sources(*packages):
    return sorted(
        path.relative_to(ROOT)
        for package in packages
        for path in (ROOT / package).rglob("*.py")
        if "__pycache__" not in path.parts
    )


def module_name(path):
    parts = path.with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    return ".".join(parts if parts[0] == "kiwicha" else ("kiwicha", *parts))


def imported(path):
    """Names of the project's modules that ``path`` imports, without the package's own."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            # `from kiwicha.hw import accelerator` imports the module kiwicha.hw.accelerator.
            names = []
            for alias in node.names:
                inner = ROOT.joinpath(*str(node.module).split("."), alias.name)
                is_module = inner.is_dir() or inner.with_suffix(".py").exists()
                names.append(f"{node.module}.{alias.name}" if is_module else str(node.module))
        else:
            continue
        for name in names:
            assert name.split(".")[0] not in (*PACKAGES[:-1], "tests"), f"{path}: bare {name}"
            if name.startswith("kiwicha."):
                yield name.removeprefix("kiwicha.")


def circle(edges):
    """A circle of ``edges``, name -> names, as a list; empty where there is none."""
    done, path = set(), []

    def visit(name):
        if name in path:
            return [*path[path.index(name):], name]
        if name in done:
            return []
        path.append(name)
        for other in sorted(edges.get(name, ())):
            if found := visit(other):
                return found
        done.add(path.pop())
        return []

    return next(filter(None, map(visit, sorted(edges))), [])


@pytest.mark.parametrize("path", sources(*PACKAGES), ids=str)
def test_imports_run_one_way(path):
    own = module_name(path).removeprefix("kiwicha.").split(".")
    if own == ["kiwicha"]:
        return  # the package itself offers what any room has
    for name in imported(path):
        room, *inner = name.split(".")
        assert room in (own[0], *MAY_IMPORT[own[0]]), f"{path} imports {name}"
        if room == own[0] and room in ORDER and inner and len(own) > 1:
            place = {part: step for step, parts in enumerate(ORDER[room]) for part in parts}
            if inner[0] != own[1]:
                assert place[inner[0]] < place[own[1]], f"{path} imports {name}"


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_no_circles(room):
    edges = {
        name: {other for other in imported(path) if other != name}
        for path in sources(*PACKAGES)
        if (name := module_name(path).removeprefix("kiwicha.")).split(".")[0] == room
    }
    assert not circle(edges)
    assert circle({**edges, "a": {"b"}, "b": {"a"}}) == ["a", "b", "a"]


def test_every_folder_has_its_place():
    for room, order in ORDER.items():
        folders = {path.parent.name for path in (ROOT / room).glob("*/*.py")}
        assert folders <= set().union(*order)


def test_the_package_holds_what_is_on_top():
    for room in PACKAGES[:-1]:
        link = ROOT / "kiwicha" / room
        assert link.is_symlink()
        assert link.resolve() == ROOT / room


@pytest.mark.parametrize("path", sources(*PACKAGES, "tests"), ids=str)
def test_file_is_small_and_says_what_it_is(path):
    lines = (ROOT / path).read_text().splitlines()
    assert lines[0] == "# SPDX-License-Identifier: Apache-2.0"
    assert len(lines) <= CEILING, f"{len(lines)} lines, {CEILING} at most"
    docstring = ast.get_docstring(ast.parse((ROOT / path).read_text()))
    assert docstring, "no module docstring"


@pytest.mark.parametrize("path", sources("hw"), ids=str)
def test_methods_fit_on_a_page(path):
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.FunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= PAGE, f"{node.name} has {length} lines, {PAGE} at most"


#: Importing a `__main__` would run it; what is for LiteX imports it.
IMPORTABLE = [
    pytest.param(path, marks=[pytest.mark.litex] if path.parts[:2] == ("boards", "litex") else [])
    for path in sources(*PACKAGES) if path.name != "__main__.py"
]


@pytest.mark.parametrize("path", IMPORTABLE, ids=str)
def test_all_resolves(path):
    module = importlib.import_module(module_name(path))
    exported = getattr(module, "__all__", None)
    if path.name != "__init__.py":
        assert exported is not None, "no __all__"
    for name in exported or ():
        assert hasattr(module, name), f"__all__ names {name}, which does not exist"
    assert len(set(exported or ())) == len(exported or ()), "a name twice in __all__"


#: Groups and units that move data: nothing to compute, so no NumPy counterpart, but proofs or
#: models in the unit's own test.
NO_ARITHMETIC = {
    "control", "load", "store",
    "activation_scratchpad", "addend_memory", "bursts", "delay", "delay_line", "drain", "fault",
    "loop_nest", "output_buffer", "pace", "parameter_memory", "queue", "ram", "read_arbiter",
    "read_master", "realign", "runs", "skew", "slice", "slots", "weight_scratchpad",
    "write_arbiter",
    "write_master",
}

#: Parts of a unit that have no test file of their own: part -> the unit whose test covers it.
PARTS = {
    "multiplier_base": "multiplier",
    "requantize_fixed": "requantize",
    "requantize_float": "requantize",
    "requantize_multiply": "requantize",
    "columns": "vector",
    "dynamic": "vector",
    "entry_walk": "drain",
    "flat_index": "block",
    "integer_path": "vector",
    "narrow": "vector",
    "sum_round": "residual",
    "settle": "vector",
    "block_buffer": "block_quantize",
    "reciprocal": "block_quantize",
    "entries": "csc",
    "pick": "csc",
    "window": "csc",
    "cross_entropy_walk": "special",
    "operand_memory": "special",
    "result_memory": "special",
    "table_memory": "special",
    "row_maximum": "special",
    "special_apply": "special",
    "special_check": "special",
    "special_fetch": "special",
    "special_lane": "special",
    "special_measure": "special",
    "softmax_float": "softmax",
    "softmax_fixed": "softmax",
    "softmax_reciprocal": "softmax",
    "normalize_measure": "normalize",
    "block_maximum": "multiway",
    "digit_product": "multiway",
    "multiway_arbiter": "multiway",
    "multiway_error": "multiway",
    "multiway_lane": "multiway",
    "reader": "update",
    "writer": "update",
}

#: Units that compute a part of what a golden model of another name says: unit -> that model.
MODELS = {
    "root": "optimizer",
    "activation_feed": "address_generator",
    "add_round": "add",
    "block": "block_quantize",
    "cross_entropy": "niti",
    "divide": "softmax",
    "float_sum": "softmax",
    "inverse_root": "normalize",
    "multiplier": "systolic",
    "multiply_round": "mul",
    "partial_product": "requantize",
    "processing_element": "systolic",
    "range_path": "niti",
    "shift_lanes": "niti",
    "statistics_path": "statistics",
    "float_units": "dynamic",
    "real_bounds": "dynamic",
    "real_value": "dynamic",
    "weight_loader": "address_generator",
}

#: Golden models of no unit: ONNX operators, graphs of them, training, and the machine that runs
#: programs.
GOLDEN_ALONE = {
    "add", "average", "away", "compressed_training", "concat", "conv",
    "conv_transpose", "convolution_gradient", "dynamic_nodes", "elementwise_gradient", "litert",
    "low_bit_gradients", "lrn", "machine", "matmul", "mul", "network", "niti",
    "pool", "pool_gradient", "product", "pruning", "recurrent", "training",
}


def has_component(path):
    """Whether ``path`` defines public hardware (helpers and layouts alone make no unit)."""
    tree = ast.parse((ROOT / path).read_text())
    return any(
        isinstance(node, ast.ClassDef)
        and not node.name.startswith("_")
        and any(re.search(r"\b(Component|Elaboratable)\b", ast.unparse(b)) for b in node.bases)
        for node in tree.body
    )


def units():
    paths = sources(*(f"hw/{group}" for group in GROUPS))
    return [path for path in paths if path.stem != "__init__" and has_component(path)]


@pytest.mark.parametrize("path", units(), ids=str)
def test_unit_has_a_test_and_a_golden_model(path):
    group, unit = path.parts[1], PARTS.get(path.stem, path.stem)
    # A part may lie in another group than its unit.
    groups = GROUPS if path.stem in PARTS else (group,)
    tests = [ROOT / "tests" / place / f"test_{unit}.py" for place in groups]
    assert any(test.exists() for test in tests), f"no test of {unit}"
    if not {group, unit} & NO_ARITHMETIC:
        model = MODELS.get(unit, unit)
        assert (ROOT / "golden" / f"{model}.py").exists(), f"no golden model of {unit}"


@pytest.mark.parametrize("group", GROUPS)
def test_every_test_has_its_unit(group):
    for path in sources(f"tests/{group}"):
        if path.stem.startswith("test_"):
            unit = path.stem.removeprefix("test_")
            assert (ROOT / "hw" / group / f"{unit}.py").exists(), f"{path} tests no unit"


@pytest.mark.parametrize("path", sources("golden"), ids=str)
def test_golden_model_has_its_unit_and_test(path):
    if path.stem == "__init__":
        return
    assert (ROOT / "tests/golden" / f"test_{path.stem}.py").exists(), f"no test of {path}"
    if path.stem not in GOLDEN_ALONE:
        found = [group for group in GROUPS if (ROOT / "hw" / group / path.name).exists()]
        assert len(found) == 1, f"{path} has {len(found)} units in hw, not one"


def test_tables_are_not_stale():
    names = {path.stem for path in sources("hw")}
    models = {path.stem for path in sources("golden")}
    assert set(PARTS) | set(PARTS.values()) <= names
    assert {*names, *GROUPS} >= NO_ARITHMETIC
    assert set(MODELS) <= names - models
    assert set(MODELS.values()) <= models
    assert models - names >= GOLDEN_ALONE
