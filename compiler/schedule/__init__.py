# SPDX-License-Identifier: Apache-2.0
"""How a layer is cut into tiles that fit, and which tiling is quickest."""
