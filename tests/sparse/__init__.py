# SPDX-License-Identifier: Apache-2.0
"""Tests of the decoders from stored form to dense rows."""
