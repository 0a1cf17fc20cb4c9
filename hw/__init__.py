# SPDX-License-Identifier: Apache-2.0
"""The hardware: Amaranth components. Nothing here simulates and nothing reads ONNX."""

from kiwicha.hw.verilog.naming import install

install()
