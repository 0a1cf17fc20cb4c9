# SPDX-License-Identifier: Apache-2.0
"""The block RAM cells of Lattice's ECP5: a write port, a read port and the output register."""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Value

__all__ = ["BYTE", "DEEPEST", "block_ram_cell", "cell_width"]

BYTE = 9
"""Bits of a byte, which has a write enable of its own in cells of two bytes or four."""

# Words -> bits of a word.
_SHAPES = {512: 36, 1024: 18, 2048: 9, 4096: 4, 8192: 2, 16384: 1}
_HALF = 18  # bits of a port of DP16KD
_ADDRESS_BITS = 14

DEEPEST = max(_SHAPES)
"""Words of the deepest shape."""


def cell_width(depth: int) -> int:
    """Return the bits of a word of the widest cell with so many words, ``DEEPEST`` at most."""
    return next(width for words, width in _SHAPES.items() if depth <= words)


def block_ram_cell(
    depth: int, *, write: Value, write_address: Value, write_data: Value,
    read: Value, read_address: Value, take: Value, read_data: Value,
) -> Instance:
    """Return a DP16KD, or for words of more than 18 bits a PDPW16KD.

    Both are described in Lattice's ECP5 and ECP5-5G Memory User Guide (FPGA-TN-02204). Whether the
    output register moves while the port's clock is not enabled is not said there: ``take`` without
    ``read`` is to be avoided.

    Parameters
    ----------
    depth : words.
    write, write_address, write_data : of one bit for all or one a byte, of any width, of
        ``cell_width(depth)`` bits.
    read, read_address : the clock enable of the read port, and what it reads.
    take : the clock enable of the output register behind it.
    read_data : what drives the register's output, of ``cell_width(depth)`` bits.
    """
    width = cell_width(depth)
    wide = width > _HALF
    # The address is of bits in the cell; those of a byte in a word enable writing instead.
    unused = min(width, 32).bit_length() - 1
    address = {
        name: [*Const(0, unused), *value, *Const(0, _ADDRESS_BITS)][:_ADDRESS_BITS]
        for name, value in (("write", write_address), ("read", read_address))
    }
    common: dict[str, str | int | Value] = {
        "p_GSR": "DISABLED", "p_RESETMODE": "SYNC", "p_ASYNC_RESET_RELEASE": "SYNC",
    }
    zero, one = Const(0), Const(1)
    every = [*write] if len(write) > 1 else [write[0]] * max(1, width // BYTE)
    enables = [*every, zero, zero, zero][: max(1, width // BYTE)]
    if wide:
        return Instance(
            "PDPW16KD", **common,
            p_DATA_WIDTH_W=width, p_DATA_WIDTH_R=width, p_REGMODE="OUTREG",
            p_CSDECODE_W="0b000", p_CSDECODE_R="0b000",
            i_CLKW=ClockSignal(), i_CEW=one, i_CLKR=ClockSignal(), i_CER=read, i_OCER=take,
            i_RST=zero, **_bits("i_CSW", [zero] * 3), **_bits("i_CSR", [zero] * 3),
            **_bits("i_BE", enables), **_bits("i_ADW", address["write"][5:]),
            **_bits("i_ADR", address["read"]),
            **_bits("i_DI", [*write_data]), **_bits("o_DO", [*read_data]),
        )
    if width == _HALF:
        address["write"][:2] = enables
    data = [*write_data, *Const(0, _HALF)][:_HALF]
    return Instance(
        "DP16KD", **common,
        p_DATA_WIDTH_A=width, p_DATA_WIDTH_B=width, p_REGMODE_A="NOREG", p_REGMODE_B="OUTREG",
        p_CSDECODE_A="0b000", p_CSDECODE_B="0b000",
        p_WRITEMODE_A="NORMAL", p_WRITEMODE_B="NORMAL",
        i_CLKA=ClockSignal(), i_CEA=one, i_WEA=Cat(enables).any(), i_OCEA=one, i_RSTA=zero,
        i_CLKB=ClockSignal(), i_CEB=read, i_WEB=zero, i_OCEB=take, i_RSTB=zero,
        **_bits("i_CSA", [zero] * 3), **_bits("i_CSB", [zero] * 3),
        **_bits("i_ADA", address["write"]), **_bits("i_ADB", address["read"]),
        **_bits("i_DIA", data), **_bits("i_DIB", [zero] * _HALF),
        **_bits("o_DOB", [*read_data]),
    )


def _bits(port: str, values: list[Value]) -> dict[str, Value]:
    return {f"{port}{bit}": value for bit, value in enumerate(values)}
