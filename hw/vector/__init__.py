# SPDX-License-Identifier: Apache-2.0
"""What happens to an int32 on its way out: bias, requantize, activation, pooling."""
