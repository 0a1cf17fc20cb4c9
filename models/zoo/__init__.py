# SPDX-License-Identifier: Apache-2.0
"""Standard architectures with random weights, quantized by ONNX Runtime.

`NETWORKS` has each at a size that simulates in seconds, `FULL` some of them as published. Weights
come from a fixed seed: a network computes nothing useful, but has the shapes, operators and ranges
of the real one.
"""

from kiwicha.models.zoo.networks import FULL, NETWORKS, ZooNetwork

__all__ = ["FULL", "NETWORKS", "ZooNetwork"]
