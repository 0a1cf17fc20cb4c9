# SPDX-License-Identifier: Apache-2.0
"""Chooses the form and the tiling of a contraction."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from kiwicha.compiler.schedule.abreast import abreast
from kiwicha.compiler.schedule.abreast import counts as abreast_counts
from kiwicha.compiler.schedule.beside import beside
from kiwicha.compiler.schedule.beside import counts as beside_counts
from kiwicha.compiler.schedule.compress import storage
from kiwicha.compiler.schedule.contraction import Contraction
from kiwicha.compiler.schedule.enough import too_small
from kiwicha.compiler.schedule.estimate import array_cycles, estimate
from kiwicha.compiler.schedule.folded import folded, groups
from kiwicha.compiler.schedule.kept import keeps
from kiwicha.compiler.schedule.tiling import Tiling, legal_tilings
from kiwicha.machine.config import AcceleratorConfig

__all__ = ["Plan", "choose_plan", "choose_tiling", "fits"]

_Form = Callable[[Contraction], Contraction]
_PLANS = 3
"""Forms besides the plain one whose tilings are looked at."""


@dataclass(frozen=True)
class Plan:
    """How a contraction is done.

    Members
    -------
    form : makes of it the work that is tiled.
    tiling : of that work.
    """

    form: _Form
    tiling: Tiling


def choose_plan(
    work: Contraction, config: AcceleratorConfig, times: int = 1, *, plain: bool = False,
    ahead: bool = False,
) -> Plan:
    """Return form and tiling with the fewest estimated cycles; raises as `choose_tiling`.

    Parameters
    ----------
    times : how many works of this kind follow each other.
    plain : the work as it is, whose columns are its output channels.
    ahead : as in `estimate`.
    """
    forms = []
    bounds = {} if plain else _bounds(work, config)
    least = bounds.pop((1, 1), 0)
    for key in sorted(bounds, key=bounds.__getitem__)[:_PLANS]:
        if bounds[key] < least:
            forms.append(_form(*key))
    if not plain and (count := groups(work, config)) > 1:
        forms.append(partial(folded, count=count))
    fitting = [form for form in forms if fits(form(work), config)]
    if not fitting or fits(work, config):
        fitting.insert(0, _form(1, 1))
    plans = (_plan(work, config, times, form, ahead) for form in fitting)
    return min(plans, key=lambda each: each[0])[1]


def fits(work: Contraction, config: AcceleratorConfig) -> bool:
    """Whether there is any tiling of a work as it is."""
    return any(True for _ in legal_tilings(work, config))


def _plan(
    work: Contraction, config: AcceleratorConfig, times: int, form: _Form, ahead: bool
) -> tuple[tuple[float, float], Plan]:
    """Return the best plan of one form, and what it costs."""
    tiling, cost = _best_tiling(form(work), config, times, ahead)
    return cost, Plan(form, tiling)


def _bounds(work: Contraction, config: AcceleratorConfig) -> dict[tuple[int, int], int]:
    """Return what the array alone takes by (rows beside each other, pixels abreast)."""
    return {
        (rows, pixels): array_cycles(work, config, rows, pixels)
        for rows in beside_counts(work, config)
        for pixels in abreast_counts(work, config)
    }


def _form(rows: int, pixels: int) -> _Form:
    return lambda work: abreast(beside(work, rows), pixels)


def choose_tiling(work: Contraction, config: AcceleratorConfig, times: int = 1) -> Tiling:
    """Return the tiling with the fewest estimated cycles, then the fewest bytes moved.

    Parameters
    ----------
    times : how many works of this kind follow each other.

    Raises
    ------
    KiwichaError
        When not even one output pixel fits; names the layer and the memories.
    """
    return _best_tiling(work, config, times)[0]


def _best_tiling(
    work: Contraction, config: AcceleratorConfig, times: int, ahead: bool = False
) -> tuple[Tiling, tuple[float, float]]:
    """Return the tiling with the fewest estimated cycles, and these with the bytes moved."""
    tilings = list(legal_tilings(work, config))
    if not tilings:
        raise too_small(
            f"{work.name} ({work.op}): one output pixel does not fit half of the machine's "
            "memories", config, ["activation_bytes", "output_bytes"],
            lambda other: any(True for _ in legal_tilings(work, other)),
        )
    stored = storage(work, tilings[0], config)
    costs = [
        estimate(work, config, t, times * _rounds(work, t, config), stored, ahead=ahead)
        for t in tilings
    ]
    cost = min(costs)
    return tilings[costs.index(cost)], cost


def _rounds(work: Contraction, t: Tiling, config: AcceleratorConfig) -> int:
    """How often the work is done: once for each mode, unless the accumulators hold all results."""
    if keeps(work, t, config):
        return 1
    whole = t.pixels == work.y.images * work.y.height * work.y.width
    return 1 if whole and t.group == len(t.tiles) else len(work.modes)
