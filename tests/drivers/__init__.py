# SPDX-License-Identifier: Apache-2.0
"""Drivers and compiled programs, against the golden machine."""
