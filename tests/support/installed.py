# SPDX-License-Identifier: Apache-2.0
"""Processes that find the package where no checkout is, as if it were installed."""

from pathlib import Path

from kiwicha.places import user_cache

__all__ = ["as_installed", "borrow_tools"]

ROOT = Path(__file__).parents[2]


def as_installed(folder: Path) -> dict[str, str]:
    """Return the variables of a process that imports the package from ``folder/site`` and has the
    user's caches in ``folder/cache``, which are made unless they are there."""
    site, cache = folder / "site", folder / "cache"
    if not site.exists():
        site.mkdir(parents=True)
        (site / "kiwicha").symlink_to(ROOT / "kiwicha")
        borrow_tools(cache)
    return {"PYTHONPATH": str(site), "XDG_CACHE_HOME": str(cache)}


def borrow_tools(cache: Path) -> None:
    """Have Yosys in a new cache folder as it has compiled itself, which takes half a minute."""
    cache.mkdir(mode=0o700, parents=True)
    (cache / "wasmtime").symlink_to(user_cache() / "wasmtime")
