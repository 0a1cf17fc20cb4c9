# SPDX-License-Identifier: Apache-2.0
"""The measured tables: utilization, emission and simulation speed."""
