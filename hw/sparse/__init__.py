# SPDX-License-Identifier: Apache-2.0
"""Decoders from stored form to dense rows, one file a format, all behind one contract."""
