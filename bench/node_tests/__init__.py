# SPDX-License-Identifier: Apache-2.0
"""The node tests of the package onnx, run on the golden machine; see docs/node-tests.md."""
