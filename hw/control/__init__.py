# SPDX-License-Identifier: Apache-2.0
"""Control: registers, program fetch and dispatch, dependency tokens, counters, supervision."""
