# SPDX-License-Identifier: Apache-2.0
"""How large a memory would do, where the machine's is too small."""

from collections.abc import Callable, Sequence

from kiwicha.errors import KiwichaError, Need, UnfitMachine
from kiwicha.machine.config import AcceleratorConfig
from kiwicha.machine.fields import field_value, with_fields

__all__ = ["too_small"]


def too_small(
    what: str,
    config: AcceleratorConfig,
    fields: Sequence[str],
    fits: Callable[[AcceleratorConfig], bool],
) -> KiwichaError:
    """Return the refusal of a machine in which something does not fit.

    Parameters
    ----------
    what : the sentence, without the machine's values.
    fields : which may be too small; powers of two, and larger ones are never worse.
    fits : whether it fits a machine.
    """
    now = {field: field_value(config, field) for field in fields}
    enough = {field: _largest(config, field) for field in fields}
    if not fits(with_fields(config, enough)):
        held = ", ".join(f"{field} {value}" for field, value in now.items())
        return KiwichaError(f"{what} ({held}), nor any that is larger")
    for field in fields:
        while enough[field] > now[field]:
            less = {**enough, field: enough[field] // 2}
            if not fits(with_fields(config, less)):
                break
            enough = less
    needs = [Need(field, now[field], enough[field]) for field in fields]
    return UnfitMachine(what, [need for need in needs if need.enough != need.value])


def _largest(config: AcceleratorConfig, field: str) -> int:
    """Return the largest legal value of a field that is a power of two."""
    value = int(field_value(config, field))
    while True:
        try:
            with_fields(config, {field: 2 * value})
        except ValueError:
            return value
        value *= 2
