# SPDX-License-Identifier: Apache-2.0
"""What a computer beside the machine needs: compiled programs and drivers, in Python and in C.

Nothing here imports the generator or the compiler; docs/programs.md and docs/drivers.md say all
that there is to know.
"""
