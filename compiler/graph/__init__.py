# SPDX-License-Identifier: Apache-2.0
"""The compiler's graph: tensors, layouts, nodes, and what the host does at the edges."""
