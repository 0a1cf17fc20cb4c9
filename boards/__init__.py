# SPDX-License-Identifier: Apache-2.0
"""Tops for FPGA boards, on amaranth-boards."""
