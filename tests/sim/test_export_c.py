# SPDX-License-Identifier: Apache-2.0
"""``kiwicha compile --c``: names, strings and places; tests/drivers runs what is written."""

import re

import numpy as np
import pytest

import kiwicha
from kiwicha.cli.main import main
from kiwicha.models.variants import build, random_input
from kiwicha.sim.export_c import _KEYWORDS, _strides, _string, _tensor_bytes, _used, c_identifier


@pytest.mark.parametrize(("name", "right"), [
    ("lenet5", "lenet5"), ("my-model.v2", "my_model_v2"), ("3d", "model_3d"), ("int", "model_int"),
    ("", "model"), ("__x__", "x"), ("a--b", "a_b"), ("class", "model_class"),
])
def test_identifiers(name, right):
    assert c_identifier(name) == right


@pytest.mark.parametrize("name", ["_", "9", "a\"", "\n", *sorted(_KEYWORDS)[:20]])
def test_every_identifier_is_one(name):
    made = c_identifier(name)
    assert re.fullmatch(r"[A-Za-z](_?[A-Za-z0-9])*", made)
    assert made not in _KEYWORDS


def test_strings():
    assert _string('a"b\\c??/\n') == '"a\\042b\\134c\\077\\077/\\012"'
    assert _string("é1") == '"\\303\\2511"'


def test_what_is_stored():
    assert _used(bytes(16) + b"\0\1" + bytes(30)) == (16, b"\0\1" + bytes(6))
    assert _used(b"\1") == (0, b"\1" + b"")


def test_strides_through_views_and_layouts():
    """N C H W as a user has it, channels last in memory; and what no strides say."""
    last = [{"transpose": [0, 2, 3, 1]}]
    tensor = {"shape": [2, 3, 4, 5], "bytes": 120, "layout": last}
    assert _strides([2, 3, 4, 5], [], tensor, "KIWICHA_AFFINE", True) == [60, 1, 15, 3]
    assert _strides([2, 3, 4, 5], [], tensor, "KIWICHA_AFFINE", False) == [60, 1, 15, 3]
    assert _strides([2, 3, 4, 5], [], tensor, "KIWICHA_OTHER", False) is None
    assert _strides([2, 60], [], tensor, "KIWICHA_AFFINE", True) is None
    plain = {"shape": [6, 4], "bytes": 24, "layout": []}
    turned = [{"reshape": [2, 3, 4]}, {"transpose": [2, 0, 1]}]
    assert _strides([2, 3, 4], turned, plain, "KIWICHA_AFFINE", True) == [3, 1, 6]
    assert _strides([4, 2, 3], turned, plain, "KIWICHA_AFFINE", False) == [1, 12, 4]
    wide = {"shape": [2, 12], "bytes": 24, "layout": []}
    assert _strides([2, 3], [], wide, "KIWICHA_INT32", False) == [12, 4]
    assert _strides([], [], {"shape": [], "bytes": 1, "layout": []}, "KIWICHA_AFFINE", True) == []


def test_the_command(tmp_path, capsys):
    contents = []
    for out in (tmp_path / "a", tmp_path / "b"):
        assert main(["compile", "lenet5", "--preset", "tiny", "--c", "--out", str(out)]) == 0
        printed = capsys.readouterr().out.splitlines()
        assert printed[-2:] == [str(out / "program.h"), str(out / "program.c")]
        contents.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert contents[0] == contents[1]
    source = contents[0]["program.c"].decode("ascii")
    octets = re.search(r"lenet5_image\[\] = \{(.*?)\}", source, re.S)
    found = np.array(re.findall(r"\d+", octets[1]), np.uint8).tobytes()
    program = kiwicha.load(tmp_path / "a")
    offset, used = _used(program.image.tobytes())
    assert found == used
    assert f"{offset}u, {len(used)}u, lenet5_image" in source
    assert f"{program.fingerprint:#010x}u" in source
    assert _tensor_bytes(program.manifest) == program.write_window[1]
    assert max(map(len, source.splitlines())) < 160


def test_the_model_is_not_overwritten(tmp_path, monkeypatch, capsys):
    (tmp_path / "program.c").write_bytes(kiwicha.load_model("lenet5").proto.SerializeToString())
    monkeypatch.chdir(tmp_path)
    assert main(["compile", "program.c", "--c", "--out", "."]) == 2
    assert "holds the model" in capsys.readouterr().err


def test_programs_of_a_plan(tmp_path):
    """Each has names of its own."""
    model, shape = build("determinant")
    files = kiwicha.write_program(
        model, tmp_path, samples=len(random_input(shape)), host_fallback=True, c_source=True
    )
    headers = [path for path in files if path.name == "program.h"]
    assert headers
    names = [re.search(r"kiwicha_program (\w+);", path.read_text())[1] for path in headers]
    assert names == [f"model_{path.parent.name}_program" for path in headers]
