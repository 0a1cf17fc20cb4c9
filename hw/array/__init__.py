# SPDX-License-Identifier: Apache-2.0
"""Processing elements and the arrays built of them."""
