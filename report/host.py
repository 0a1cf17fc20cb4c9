# SPDX-License-Identifier: Apache-2.0
"""Nodes that ran on the host between programs: plain values, and their table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from kiwicha.report.terminal import plain

__all__ = ["HostNode", "host_tables"]


@dataclass(frozen=True)
class HostNode:
    """One node.

    Members
    -------
    where : "host".
    programs : how many programs ran before it.
    seconds, share : that ONNX Runtime took for it on this computer, and of what it took for all
        nodes on the host; None where nothing was run. The machine's cycles do not have them.
    bytes_read, bytes_written : of its operands, constants included, and results.
    reason : why it is not on the machine.
    """

    name: str
    op: str
    where: str
    programs: int
    seconds: float | None
    share: float | None
    bytes_read: int
    bytes_written: int
    reason: str

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "HostNode":
        """Return a node as a JSON file has it."""
        return cls(**{field.name: values[field.name] for field in fields(cls)})


def host_tables(nodes: Sequence[HostNode], console: Console) -> list[Table]:
    """Return a table of the nodes, a row each; none where there are no nodes."""
    if not nodes:
        return []
    measured = any(node.seconds is not None for node in nodes)
    title = "on the host, by ONNX Runtime" + ", seconds of this computer" * measured
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", padding=(0, 1))
    for name in ("node", "operator", "runs on", "after", "read B", "written B", "us", "share"):
        text = name in ("node", "operator", "runs on", "after")
        table.add_column(name, justify="left" if text else "right", no_wrap=True)
    for node in nodes:
        table.add_row(
            plain(node.name, console), plain(node.op, console), node.where,
            f"program {node.programs}" if node.programs else "-",
            f"{node.bytes_read:,}", f"{node.bytes_written:,}",
            "-" if node.seconds is None else f"{1e6 * node.seconds:,.0f}",
            "-" if node.share is None else f"{node.share:.1%}",
        )
    return [table]
