# SPDX-License-Identifier: Apache-2.0
"""The STORE engine: from the output buffer into memory, and records of the machine."""
