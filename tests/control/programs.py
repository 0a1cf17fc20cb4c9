# SPDX-License-Identifier: Apache-2.0
"""Random programs for the tests of control: right opcodes, noise everywhere else."""

import random

from kiwicha.machine.isa import INSTRUCTIONS, WORD_BITS, Engine, Opcode

__all__ = ["END_WORD", "engine_words", "random_instruction", "random_mask", "words_of"]

END_WORD = Opcode.END.value


def words_of(opcode, bits):
    """Return an instruction's words, first one first."""
    return [
        bits >> low & (1 << WORD_BITS) - 1 for low in range(0, INSTRUCTIONS[opcode].size, WORD_BITS)
    ]


def random_mask(chooser: random.Random, engines):
    """Return a mask of some of these engines."""
    return sum(chooser.getrandbits(1) << engine for engine in engines)


def random_instruction(chooser: random.Random, engine=None, *, engines=tuple(Engine), **fields):
    """Return (engine, bits) of noise with a right opcode and the given fields.

    ``engines`` are those of the machine: no other is chosen, waited for or signalled.
    """
    engine = chooser.choice(engines) if engine is None else engine
    layout = INSTRUCTIONS[Opcode[engine.name]]
    bits = chooser.getrandbits(layout.size)
    masks = {name: random_mask(chooser, engines) for name in ("wait", "signal")}
    for name, value in {"opcode": Opcode[engine.name].value, **masks, **fields}.items():
        field = layout[name]
        bits &= ~(((1 << field.width) - 1) << field.offset)
        bits |= value << field.offset
    return engine, bits


def engine_words(program):
    """Return the words of (engine, bits) pairs, per engine and all together."""
    separate = [[] for _ in Engine]
    for engine, bits in program:
        separate[engine] += words_of(Opcode[engine.name], bits)
    together = [w for engine, bits in program for w in words_of(Opcode[engine.name], bits)]
    return separate, together
