# SPDX-License-Identifier: Apache-2.0
"""LiteX: the core for any SoC of it, and one that is simulated with firmware (docs/litex.md)."""
