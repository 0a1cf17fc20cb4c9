# SPDX-License-Identifier: Apache-2.0
"""Small real models that ship with the project, the scripts that made them, and test networks."""
