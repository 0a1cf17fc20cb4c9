# SPDX-License-Identifier: Apache-2.0
"""Every board of the catalog: its machine fits, its clock can be made, its pins exist."""

import re

import pytest

from kiwicha.boards.build import board_top
from kiwicha.boards.catalog import BOARDS, find_board
from kiwicha.boards.resources import ResourceError, check, floor

from .test_build import SmallTop


@pytest.mark.parametrize("name", BOARDS)
def test_what_is_said_of_a_board(name):
    board = find_board(name)
    assert board.name == name
    assert board.baud * round(board.clock_mhz * 1e6 / board.baud) == board.clock_mhz * 1e6
    assert board_top(board, board.machine, board.clock_mhz).memory_bytes <= board.memory_bytes
    need = floor(board.machine, board.memory_bytes, board.device)
    if name == "icebreaker":
        with pytest.raises(ResourceError, match=r"^the machine is too large for the iCE40 UP5K: "):
            check(need, board.device, "the machine")
    else:
        check(need, board.device, "the machine")


def test_there_is_no_such_board():
    with pytest.raises(ValueError, match=r"^unknown board 'de10'; legal: ecpix5-85f, icebreaker, "):
        find_board("de10")


@pytest.mark.fpga
@pytest.mark.parametrize("name", BOARDS)
def test_pins(name):
    """Clock, serial port and lights are where the board's resources say, each once."""
    board = find_board(name)
    top = board.wrap(SmallTop(), board.clock_mhz)
    files = board.platform().build(top, name="board", do_build=False).files
    text = next(data for file, data in files.items() if file.endswith((".lpf", ".pcf")))
    text = text.decode() if isinstance(text, bytes) else text
    pins = re.findall(r'^(?:LOCATE COMP "[^"]+" SITE "|set_io \S+ )(\w+)', text, re.MULTILINE)
    lights = 1 if name == "icebreaker" else 3
    assert len(pins) == len(set(pins)) == 3 + lights + ("rst" in text)
