# SPDX-License-Identifier: Apache-2.0
"""The serial link between a computer and a board: hardware, frame format and client."""
