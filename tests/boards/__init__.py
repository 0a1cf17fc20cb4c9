# SPDX-License-Identifier: Apache-2.0
"""Tests of the boards' own hardware, of their link, and of what builds bitstreams."""
