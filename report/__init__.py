# SPDX-License-Identifier: Apache-2.0
"""What people read: tables on a terminal and JSON, from plain data."""
