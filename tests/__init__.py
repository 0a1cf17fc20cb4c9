# SPDX-License-Identifier: Apache-2.0
"""Tests; the folders mirror hw, golden and compiler."""
