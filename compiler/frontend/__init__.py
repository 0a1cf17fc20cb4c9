# SPDX-License-Identifier: Apache-2.0
"""From a model file to a model that is lowered, with the user's names."""
