# SPDX-License-Identifier: Apache-2.0
"""Builds and runs the generated Verilog under cocotb, and reports what it measured."""
