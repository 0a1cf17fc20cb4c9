# SPDX-License-Identifier: Apache-2.0
"""Training on the simulated machine: what to learn, the loop, and what it cost."""
