# SPDX-License-Identifier: Apache-2.0
"""Tests of the statistics and of the quantization that uses them."""
