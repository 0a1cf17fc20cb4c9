# SPDX-License-Identifier: Apache-2.0
"""What engines share: queues, memories, masters of the bus, arithmetic."""
