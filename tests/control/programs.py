# SPDX-License-Identifier: Apache-2.0
"""Random programs for the tests of control: right opcodes, noise everywhere else."""

import random

from hw.isa import INSTRUCTIONS, WORD_BITS, Engine, Opcode

__all__ = ["END_WORD", "engine_words", "random_instruction", "words_of"]

END_WORD = Opcode.END.value


def words_of(opcode, bits):
    """Return an instruction's words, first one first."""
    return [
        bits >> low & (1 << WORD_BITS) - 1 for low in range(0, INSTRUCTIONS[opcode].size, WORD_BITS)
    ]


def random_instruction(chooser: random.Random, engine=None, **fields):
    """Return (engine, bits) of noise with a right opcode and the given fields."""
    engine = Engine(chooser.randrange(len(Engine))) if engine is None else engine
    layout = INSTRUCTIONS[Opcode[engine.name]]
    bits = chooser.getrandbits(layout.size)
    for name, value in {"opcode": Opcode[engine.name].value, **fields}.items():
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
