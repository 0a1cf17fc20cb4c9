# SPDX-License-Identifier: Apache-2.0
"""The SPECIAL engine: tables, sums of two, softmax, normalization; whole rows at a time."""
