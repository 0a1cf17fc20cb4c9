# SPDX-License-Identifier: Apache-2.0
"""How Verilog is written."""
