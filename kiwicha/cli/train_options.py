# SPDX-License-Identifier: Apache-2.0
"""The options of ``kiwicha train``, and what ``--help`` says of them."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kiwicha.cli.pruning import pruning_options

__all__ = ["train_options"]

_TRAIN = """\
A network learns the handwritten digits from random weights on the generated hardware, simulated
clock by clock: forward pass, errors, gradients and weights, all int8 (NITI), or weights of 32 bits
that an optimizer moves in memory. Or layers of a quantized ONNX model learn more, behind the
model's own forward pass. Each step is compared byte by byte with a NumPy model. Prints cycles, use
of the array and bytes of a step."""

_TRAIN_EPILOG = """\
examples:
  kiwicha train digits                                  64-64-10, three minutes or so
  kiwicha train digits --hidden 32 32 --epochs 10 --seeds 3 --plot loss.png
  kiwicha train digits --checkpoint digits.npz          and, once stopped, the same with --resume
  kiwicha train digits --optimizer adam --rate 0.004 0.001 --epochs 10
  kiwicha train model.onnx --data mine.npz --layers last --epochs 5 --bits 3 --out tuned.onnx

exit code: 0 every byte equal, 1 a byte differs or the simulation broke, 2 bad input"""


def train_options(
    commands: "argparse._SubParsersAction[Any]", integer: Callable[[int, int], Any],
    configuration_options: Callable[[argparse.ArgumentParser, str], None],
) -> None:
    """Add the command ``train``.

    Parameters
    ----------
    integer : of bounds, what takes an option's number.
    configuration_options : adds those that name a machine.
    """
    train = commands.add_parser(
        "train", help="let a network learn on the simulated machine, every step compared",
        description=_TRAIN, epilog=_TRAIN_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    train.add_argument(
        "model", metavar="MODEL",
        help="digits, a network that learns from random weights, or digits-lenet5, -resnet8 or "
        "-dscnn, with convolutions; or a quantized ONNX model, some layers of which are tuned",
    )
    train.add_argument(
        "--data", metavar="FILE.npz", type=Path,
        help="images by the model's input name, and labels; every fifth is held out",
    )
    train.add_argument(
        "--layers", metavar="NAME", nargs="+",
        help="of a model: last (default), all, or names of layers",
    )
    train.add_argument(
        "--out", metavar="TUNED.onnx", type=Path, help="write the model with its new weights"
    )
    configuration_options(train, "default: training")
    train.add_argument(
        "--hidden", metavar="N", type=integer(1, 4096), nargs="+",
        help="outputs of the layers before the last (default: 64)",
    )
    train.add_argument(
        "--epochs", metavar="N", type=integer(1, 100_000), default=30, help="default: %(default)s"
    )
    train.add_argument(
        "--batch", metavar="N", type=integer(1, 65535), default=16, help="default: %(default)s"
    )
    train.add_argument(
        "--bits", metavar="N", type=integer(1, 7), nargs="+",
        help="bits that NITI's gradients keep, the learning rate, in equal parts of the epochs "
        "(default: 5 4 3 2)",
    )
    train.add_argument(
        "--optimizer", metavar="NAME", default="niti",
        help="niti, a difference of int8 weights (default); or sgd, momentum, adagrad, rmsprop, "
        "adam, which the engine UPDATE does with 32-bit weights",
    )
    train.add_argument(
        "--rate", metavar="R", type=float, nargs="+",
        help="learning rates of these, in equal parts of the epochs",
    )
    train.add_argument("--decay", metavar="D", type=float, help="of weights (default: 0)")
    train.add_argument(
        "--accumulate", metavar="N", type=integer(1, 256),
        help="batches whose gradients are added up for a step (default: 1)",
    )
    pruning_options(train)
    train.add_argument(
        "--seed", metavar="N", type=integer(0, (1 << 31) - 1), default=0,
        help="of the first training: initial weights, order of the images (default: %(default)s)",
    )
    train.add_argument(
        "--seeds", metavar="N", type=integer(1, 1000), default=1,
        help="trainings, with consecutive seeds (default: %(default)s)",
    )
    train.add_argument(
        "--checkpoint", metavar="FILE.npz", type=Path,
        help="keep weights and history behind each epoch, as FILE-SEED.npz",
    )
    train.add_argument("--resume", action="store_true", help="go on from --checkpoint")
    train.add_argument(
        "--plot", metavar="FILE", type=Path, action="append", default=[],
        help="draw loss and accuracy by epoch, FILE.png or FILE.svg; can be given twice",
    )
    train.add_argument(
        "--report", metavar="FILE.json", type=Path, help="write all that is printed, and more"
    )
