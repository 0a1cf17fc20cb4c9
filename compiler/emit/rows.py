# SPDX-License-Identifier: Apache-2.0
"""How the rows of a tensor are shared out over SPECIAL's lanes, instruction by instruction."""

from dataclasses import dataclass
from math import gcd

from kiwicha.compiler.schedule.onchip import align_up
from kiwicha.machine.config import AcceleratorConfig

__all__ = ["WORTH", "Cut", "cut_rows", "longest_block"]

WORTH = 8  # rows of a lane that are worth an instruction of their own
_PIECES = 4  # so that loading, computing and storing overlap
_MOST = 65535  # rows that an instruction counts


@dataclass(frozen=True)
class Cut:
    """``together`` rows of ``length`` bytes in an instruction, ``rows`` of them in a lane, which
    are whole beats if more than one lane has any."""

    length: int
    rows: int
    together: int

    @property
    def stride(self) -> int:
        """Bytes of a full lane."""
        return self.rows * self.length


def longest_block(config: AcceleratorConfig, operands: int, aligned: bool) -> tuple[int, int]:
    """Return the bytes that a lane's block may have: with room for the next ones, and without.

    Parameters
    ----------
    operands : blocks that an instruction reads.
    aligned : whether all of them begin at a beat.
    """
    slack = 0 if aligned else config.beat_bytes - 1
    share = config.special.bytes // operands
    return share // 2 // config.beat_bytes * config.beat_bytes - slack, share - slack


def cut_rows(
    config: AcceleratorConfig,
    total: int,
    length: int,
    *,
    operands: int = 1,
    aligned: bool = False,
    quantum: int = 0,
    unit: int | None = None,
    roomy: bool = False,
    worth: int = WORTH,
) -> Cut | None:
    """Return how to cut ``total`` rows of ``length`` bytes, None where not even one fits.

    Parameters
    ----------
    operands, aligned : as `longest_block`.
    quantum : rows that become ready together, such as those of one matrix; 0 if all do at once.
    unit : the rows of a lane are so many, or a multiple, where more than one has any; None: as many
        as are whole beats.
    roomy : there is always room for the next blocks.
    worth : rows of a lane that are worth an instruction of their own.
    """
    unit = unit or config.beat_bytes // gcd(length, config.beat_bytes)
    rooms = longest_block(config, operands, aligned)[: 1 if roomy else 2]
    for lanes, step in ((config.special.lanes, unit), (1, 1)):
        for room in rooms:
            most = min(room // length, _MOST) // step * step
            if most > 0:
                return _even(total, length, most, step, lanes, quantum, worth)
    return None


def _even(
    total: int, length: int, most: int, step: int, lanes: int, quantum: int, worth: int
) -> Cut:
    limit = most * lanes
    if 0 < quantum <= limit:
        some = min(-(-worth * lanes // quantum), total // (_PIECES * quantum), limit // quantum)
        together = quantum * max(1, some)
    else:
        total = min(total, quantum or total)
        pieces = max(-(-total // limit), min(_PIECES, total // (worth * lanes)))
        together = -(-total // pieces)
    rows = min(align_up(-(-together // lanes), step), most)
    return Cut(length, rows, min(together, rows * lanes) if quantum else rows * lanes)
