# SPDX-License-Identifier: Apache-2.0
"""Tests of the command and of what it is made of."""
