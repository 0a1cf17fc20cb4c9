# SPDX-License-Identifier: Apache-2.0
"""Whether the gradients of a model that is trained in NumPy are the slopes of its results."""

import numpy as np

__all__ = ["gradients_are_slopes"]


def gradients_are_slopes(module, parameters, images, rng):
    """Compare, of each parameter, the largest gradient with the slope there."""
    logits, backward = module.forward(parameters, images)
    weights = rng.standard_normal(logits.shape)
    slopes = dict(backward(weights))
    assert slopes.keys() == parameters.keys()
    for name, value in parameters.items():
        place = np.unravel_index(np.abs(slopes[name]).argmax(), value.shape)
        sides = []
        for step in (1e-6, -2e-6):
            value[place] += step
            sides.append((module.forward(parameters, images)[0] * weights).sum())
        value[place] += 1e-6
        assert np.isclose((sides[0] - sides[1]) / 2e-6, slopes[name][place], rtol=1e-5), name
