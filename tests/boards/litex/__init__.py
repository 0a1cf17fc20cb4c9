# SPDX-License-Identifier: Apache-2.0
"""The core in SoCs of LiteX."""
