# SPDX-License-Identifier: Apache-2.0
"""Generator of int8 deep-learning accelerators, bit-exact with ONNX Runtime."""
