# SPDX-License-Identifier: Apache-2.0
"""Where in memory things lie, one after the other."""

import hashlib

import numpy as np

from kiwicha.compiler.schedule.onchip import align_up
from kiwicha.errors import Need, UnfitMachine

__all__ = ["ALIGN", "Memory"]

ALIGN = 64
"""Tensors start where every port width's beat does."""


class Memory:
    """Bump allocator from address 0 up, with the constants' bytes."""

    def __init__(self, limit: int) -> None:
        self.limit, self.top, self.first = limit, 0, ""
        self.constants: list[tuple[int, np.ndarray]] = []
        self._known: dict[bytes, int] = {}

    def take(self, size: int, what: str) -> int:
        """Return where ``size`` bytes lie that nothing else has; `check` says whether all fit."""
        start = self.top
        self.top = align_up(start + size, ALIGN)
        if self.top > self.limit:
            self.first = self.first or what
        return start

    def check(self) -> None:
        """Raise UnfitMachine for what does not fit, once all is known that has to."""
        if self.top <= self.limit:
            return
        width = self.limit.bit_length()
        need = Need("axi_address_width", width, (self.top + ALIGN - 1).bit_length())
        raise UnfitMachine(f"{self.first} does not fit: the model needs {self.top} bytes", [need])

    def move_constants(self, image: np.ndarray) -> None:
        """Write the constants into ``image``, and forget each: half of the bytes at any time."""
        while self.constants:
            address, octets = self.constants.pop()
            image[address : address + octets.size] = octets

    def put(self, data: np.ndarray) -> int:
        """Return where a constant lies; the same bytes lie there once."""
        octets = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        digest = hashlib.sha256(octets.data).digest()
        if digest not in self._known:
            self._known[digest] = self.take(octets.size, "a constant")
            self.constants.append((self._known[digest], octets))
        return self._known[digest]
