# SPDX-License-Identifier: Apache-2.0
"""Cycles and bytes of a program, without running it."""
