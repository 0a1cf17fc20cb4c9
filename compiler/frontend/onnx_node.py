# SPDX-License-Identifier: Apache-2.0
"""What every phase asks of an ONNX node: its names, its attributes, why it is refused."""

from typing import Any

import onnx

__all__ = ["Refusal", "Unknown", "attributes", "node_name", "operator_name"]


class Refusal(Exception):
    """A node cannot be mapped; the text says why.

    Members
    -------
    node : which one, where it is not the one that is being looked at.
    """

    def __init__(self, text: str, node: onnx.NodeProto | None = None) -> None:
        self.node = node
        super().__init__(text)


class Unknown(Exception):
    """An operand comes from a node that was refused already, and says too little of itself to check
    this node by it; nothing to add."""


def node_name(node: onnx.NodeProto) -> str:
    """Return the node's name, or that of its first output where it has none."""
    return node.name or next(filter(None, node.output), node.op_type)


def operator_name(node: onnx.NodeProto) -> str:
    """Return the node's operator, its domain before it where that is not ONNX's own, nor that of
    TFLite's operators."""
    plain = node.domain in ("", "ai.onnx", "tflite")
    return node.op_type if plain else f"{node.domain}.{node.op_type}"


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Return attribute values, byte strings decoded."""
    values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in values.items()}
