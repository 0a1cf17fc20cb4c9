# SPDX-License-Identifier: Apache-2.0
"""What ONNX Runtime makes of each code of a tensor, at each place that the tensor has.

Its kernels go through a tensor with vector code and do the rest with other code, whose last bit
may differ; some treat a tensor of one element in a way of its own. So nothing is learned from
tensors of another shape: a tensor of the real one is filled with each code in turn. No kernel for
functions of single elements looks at the neighbours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from kiwicha.compiler.frontend.limit import Limit
from kiwicha.compiler.frontend.onnx_node import Refusal
from kiwicha.compiler.frontend.session import open_session, runtime_message
from kiwicha.compiler.frontend.subgraph import subgraph
from kiwicha.compiler.graph.graph import Tensor
from kiwicha.compiler.graph.node import Promise
from kiwicha.compiler.ops.context import Context
from kiwicha.errors import ModelError

__all__ = ["CodeFunction", "code_function"]

_ELEMENTS = Limit(
    "input '{name}' of shape {shape} has no element", lambda name, shape: 0 not in shape
)


@dataclass(frozen=True, eq=False)
class CodeFunction:
    """A value of a model as a function of a tensor's codes.

    Members
    -------
    values : kinds of places x 256: the result for each raw byte, in its own type. The kind that
        most places are of is the first.
    kinds : int64, of the value's shape: the kind of each place.
    """

    values: NDArray[Any]
    kinds: NDArray[np.int64]

    @property
    def exact(self) -> bool:
        """Whether each code gives the same at all places."""
        return len(self.values) == 1

    def promise(self, context: Context, node: onnx.NodeProto) -> Promise:
        """Return what a table of the first kind promises; where that is not the runtime's bits,
        the report says what is different."""
        if self.exact:
            return "runtime"
        apart = np.abs(self.values.astype(np.int64) - self.values[0])
        codes, places = np.count_nonzero(apart.max(axis=0)), np.count_nonzero(self.kinds)
        context.note(
            node,
            f"lowered by kiwicha: a table (golden-exact) of ONNX Runtime's results at most places; "
            f"{codes} of 256 codes give something else at {places} of {self.kinds.size} places, "
            f"by at most {apart.max()}",
        )
        return "golden"


def code_function(
    context: Context, x: Tensor, name: str, values: Mapping[str, NDArray[Any]] | None = None
) -> CodeFunction:
    """Return the value ``name`` of the model as a function of the codes of ``x``.

    Parameters
    ----------
    x : the tensor on whose codes alone ``name`` depends, each element on one element.
    values : constants to replace by others.

    Raises
    ------
    Refusal
        Where ONNX Runtime cannot run this part of the model.
    """
    _ELEMENTS.check(name=x.name, shape=list(x.shape))
    sources = {x.name: (x.dtype, len(x.shape))}
    try:
        part = subgraph(context.model, sources, name, values=values)
        session = open_session(part, context.settings)
    except (KeyError, ModelError) as error:
        raise Refusal(f"cannot be run by itself: {error}") from None

    def run(code: int) -> NDArray[Any]:
        given = np.full(x.shape, code, np.uint8).view(x.dtype)
        try:
            (result,) = session.run([name], {x.name: given})
        except Exception as error:  # its exception classes share no public base
            raise Refusal(f"cannot be run by itself: {runtime_message(error)}") from None
        return np.asarray(result)

    first = run(0)
    bits = np.dtype(f"u{first.dtype.itemsize}")
    found = np.zeros((1, 256), bits)
    kinds, heads = np.zeros(first.size, np.int64), np.zeros(1, np.int64)
    for code in range(256):
        seen = run(code).reshape(-1).view(bits)
        if np.any(seen != seen[heads][kinds]):
            pairs = (kinds << 32) | seen
            before = kinds
            _, heads, kinds = np.unique(pairs, return_index=True, return_inverse=True)
            found = found[before[heads]]
        found[:, code] = seen[heads]
    order = np.argsort(-np.bincount(kinds), kind="stable")
    return CodeFunction(
        found[order].view(first.dtype), np.argsort(order)[kinds].reshape(first.shape)
    )
