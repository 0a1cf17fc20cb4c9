# SPDX-License-Identifier: Apache-2.0
"""How Amaranth becomes Verilog that is the same bytes on every Python."""
