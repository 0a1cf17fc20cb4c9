# SPDX-License-Identifier: Apache-2.0
"""TFLite files: read by LiteRT's own classes, carried on as the messages that every operator file
takes."""
