# SPDX-License-Identifier: Apache-2.0
"""What all nodes have, one class for each kind of layer.

Every node has ``name``, ``op`` (ONNX operator and what was fused into it, for the report), ``x``,
``y``, and

- ``kind`` : its class in short;
- ``inputs`` : the tensors that it reads and that another node or the host writes;
- ``results`` : the tensors that it writes, ``y`` the first of them;
- ``promise`` : "runtime" where its bytes are those of ONNX Runtime's own operator for these
  inputs, or of LiteRT's reference kernel for a TFLite model, "near" where the runtime computes in
  float and no code is further than one from what it gets, "golden" where they are those of our
  golden model only;
- ``macs`` : useful multiply-accumulates.
"""

from typing import Literal

from kiwicha.compiler.graph.tensor import Tensor

__all__ = ["PROMISES", "BaseNode", "Promise"]

Promise = Literal["runtime", "near", "golden"]
PROMISES: dict[Promise, str] = {
    "runtime": "runtime-exact", "near": "within one code", "golden": "golden-exact",
}
"""In words."""


class BaseNode:
    """What is the same for most nodes: one input, no products, exact to the runtime."""

    x: Tensor
    y: Tensor
    promise: Promise = "runtime"

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Tensors read that another node or the host writes."""
        return (self.x,)

    @property
    def results(self) -> tuple[Tensor, ...]:
        """Tensors written."""
        return (self.y,)

    @property
    def macs(self) -> int:
        """Useful multiply-accumulates."""
        return 0
