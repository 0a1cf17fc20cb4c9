# SPDX-License-Identifier: Apache-2.0
"""Every script of examples/ runs as it stands, and uses nothing but the public names."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import kiwicha

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_runs(path, tmp_path):
    """From another folder, which only gets what the script says it writes."""
    done = subprocess.run(
        [sys.executable, str(path), "out"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out/accelerator.v").read_text().endswith("endmodule\n")
    assert "every bit right: True" in done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_uses_public_names(path):
    lines = path.read_text().splitlines()
    assert lines[0] == "# SPDX-License-Identifier: Apache-2.0"
    assert len(lines) <= 80
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom | ast.Import):
            assert not any(alias.name.startswith("kiwicha.") for alias in node.names)
            assert not str(getattr(node, "module", "")).startswith("kiwicha")
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "kiwicha":
            assert node.attr in kiwicha.__all__
