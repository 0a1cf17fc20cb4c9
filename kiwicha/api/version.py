# SPDX-License-Identifier: Apache-2.0
"""The version of the installed package."""

import importlib.metadata

__all__ = ["__version__"]

__version__ = importlib.metadata.version("kiwicha")
