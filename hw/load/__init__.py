# SPDX-License-Identifier: Apache-2.0
"""The LOAD engine: from memory into the scratchpads, as it is or decoded."""
