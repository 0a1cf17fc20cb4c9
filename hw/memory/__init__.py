# SPDX-License-Identifier: Apache-2.0
"""AXI4 masters, scratchpads, accumulators and address generators."""
