# SPDX-License-Identifier: Apache-2.0
"""The zoo as quantize_dynamic writes it: every network gives an answer, some without a host."""

import pytest

from kiwicha.bench import zoo_dynamic
from kiwicha.bench.zoo_dynamic import dynamic_zoo, tried
from kiwicha.errors import InputError
from kiwicha.models.zoo import NETWORKS

WHOLE = {
    "autoencoder", "densenet", "dscnn", "gru", "lenet", "lstm", "mobilenet-v1", "mobilenet-v2",
    "resnet18", "resnet50", "squeezenet", "tcn", "vgg", "yolo",
}
NOT_THE_SAME = {
    "densenet", "dscnn", "gru", "lstm", "mobilenet-v1", "mobilenet-v2", "squeezenet", "tcn",
}
"""Whole ones with a global average, which the machine takes of codes, or with cells in integers."""


@pytest.mark.parametrize("name", NETWORKS)
def test_it_runs(name):
    found = tried(NETWORKS[name])
    assert not found["wrong"]
    assert (found["runs"] == "whole") == (name in WHOLE)
    assert found["runs"] == "host" or (found["off"] > 0) == (name in NOT_THE_SAME)
    if found["runs"] == "host":
        assert found["host"]
        lines = found["refused"].split("\n")[1:]
        assert all(line.startswith("  '") and "): " in line for line in lines)


def test_the_table(monkeypatch):
    networks = [NETWORKS[name] for name in ("lenet", "unet")]
    table = dynamic_zoo(networks)
    assert [row[:2] for row in table.rows] == [("lenet", "whole"), ("unet", "host")]
    assert table.rows[0][-2:] == ("the same bits", "-")
    assert any(sentence.startswith("unet: 'convtranspose0' (ConvT") for sentence in table.how)

    def refuses(*_):
        raise InputError("no")

    monkeypatch.setattr(zoo_dynamic, "golden_fallback", refuses)
    assert dynamic_zoo(networks[1:]).rows[0][1] == "not at all"
