# SPDX-License-Identifier: Apache-2.0
"""The contract: configuration, instructions, formats, tables."""
