# SPDX-License-Identifier: Apache-2.0
"""Statistics of int32 streams, and quantization with scales that come from them."""
