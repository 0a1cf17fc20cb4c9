# SPDX-License-Identifier: Apache-2.0
"""What the tests of the hardware share: cocotb benches, streams, proofs and mutation."""
