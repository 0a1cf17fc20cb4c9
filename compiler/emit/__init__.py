# SPDX-License-Identifier: Apache-2.0
"""From layers to instructions, and what the program needs in memory."""
