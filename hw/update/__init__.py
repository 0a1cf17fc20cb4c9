# SPDX-License-Identifier: Apache-2.0
"""The UPDATE engine: optimizers of weights in memory, in place."""
