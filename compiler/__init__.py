# SPDX-License-Identifier: Apache-2.0
"""From a quantized ONNX model to a graph, tiles and the program of the machine."""
