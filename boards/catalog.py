# SPDX-License-Identifier: Apache-2.0
"""The boards there are, by name; what is known of one is imported when it is asked for."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kiwicha.boards.board import Board

__all__ = ["BOARDS", "find_board"]

BOARDS = {
    "ecpix5-85f": ("ecpix5_85f", "ECPIX5_85F"),
    "icebreaker": ("icebreaker", "ICEBREAKER"),
    "ulx3s-85f": ("ulx3s_85f", "ULX3S_85F"),
}
"""Module in `boards`, and what the board is called in there."""


def find_board(name: str) -> "Board":
    """Return a board.

    Raises
    ------
    ValueError
        When there is none of this name; the message lists those there are.
    """
    if name not in BOARDS:
        raise ValueError(f"unknown board {name!r}; legal: {', '.join(BOARDS)}")
    module, attribute = BOARDS[name]
    board: Board = getattr(import_module(f"kiwicha.boards.{module}"), attribute)
    return board
