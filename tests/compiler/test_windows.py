# SPDX-License-Identifier: Apache-2.0
"""Windows of pools at the edges of what ONNX Runtime takes: dilations with auto_pad, strides beyond
the kernel, kernels beyond the image."""

import numpy as np
import pytest

from kiwicha.compiler.frontend.lower import lower
from kiwicha.compiler.ops.legalize import legalize
from kiwicha.errors import UnsupportedModel

from .agree import agree
from .limit_models import integer
from .test_average_pool import draw, pooled
from .test_emit import MICRO
from .test_moves import runs

WINDOWS = {
    "dilated, same": ([2, 8, 7], [3, 3], {"auto_pad": "SAME_UPPER", "dilations": [2, 1]}),
    "dilated, lower": ([2, 9], [2], {"auto_pad": "SAME_LOWER", "dilations": [3], "strides": [2]}),
    "apart, upper": ([3, 6], [1], {"auto_pad": "SAME_UPPER", "strides": [3]}),
    "apart, lower": ([3, 9, 6], [2, 1], {"auto_pad": "SAME_LOWER", "strides": [5, 4]}),
    "apart, first pixels": ([1, 9, 9], [2, 1], {"auto_pad": "SAME_UPPER", "strides": [5, 4]}),
    "longer than the image": ([2, 3], [4], {"strides": [2]}),
    "longer than all": ([2, 2, 5], [5, 2], {"strides": [4, 1], "pads": [1, 0, 0, 0]}),
    "longer, rounded up": ([2, 3], [4], {"strides": [3], "ceil_mode": 1}),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_maximum(name):
    shape, kernel, given = WINDOWS[name]
    made = integer("MaxPool", ["xq"], (), {"x": [2, *shape]}, "", kernel_shape=kernel, **given)
    runs(agree(made), MICRO)


@pytest.mark.parametrize("form", ["QOperator", "QDQ"])
@pytest.mark.parametrize("include", [0, 1])
@pytest.mark.parametrize("name", [n for n in WINDOWS if "dilated" not in n])
def test_average(name, include, form):
    shape, kernel, given = WINDOWS[name]
    rng = np.random.RandomState(len(name))
    made = pooled(
        form, [2, *shape], draw(rng), kernel_shape=kernel, count_include_pad=include, **given
    )
    (layer,) = legalize(lower(made)).nodes
    runs(agree(made, exact=layer.promise == "runtime"), MICRO)


def test_no_window_at_all_is_refused():
    made = integer("MaxPool", ["xq"], (), {"x": [1, 2, 3]}, "", kernel_shape=[5], strides=[2])
    with pytest.raises(UnsupportedModel, match="kernel spans 5, the padded image only 3"):
        legalize(lower(made))
