# SPDX-License-Identifier: Apache-2.0
"""How each ONNX operator becomes nodes of the compiler's graph; one file per family."""
