# SPDX-License-Identifier: Apache-2.0
"""The contract between software and hardware: what both of them read, and nothing else of ours."""
