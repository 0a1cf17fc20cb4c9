# SPDX-License-Identifier: Apache-2.0
"""What has to be known of the processor that ONNX Runtime runs on."""

from functools import cache

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

__all__ = ["products_saturate"]


@cache
def products_saturate() -> bool:
    """Return whether sums of two uint8 x int8 products saturate in ONNX Runtime on this host.

    They do on x86-64 without VNNI.
    """
    make = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "w"], ["y"])], "g",
        [make("x", TensorProto.UINT8, [1, 64])], [make("y", TensorProto.INT32, [1, 64])],
        [numpy_helper.from_array(np.full((64, 64), 127, np.int8), "w")],
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found = session.run(None, {"x": np.full((1, 64), 255, np.uint8)})[0]
    return bool((found != 64 * 255 * 127).any())
