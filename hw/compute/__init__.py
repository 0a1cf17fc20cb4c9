# SPDX-License-Identifier: Apache-2.0
"""The COMPUTE engine: scratchpads, address generators, the systolic array and its sums."""
