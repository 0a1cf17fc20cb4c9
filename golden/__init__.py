# SPDX-License-Identifier: Apache-2.0
"""NumPy models: what the hardware must compute, bit for bit, without cycles or wires."""
