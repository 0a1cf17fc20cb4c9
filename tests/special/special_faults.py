# SPDX-License-Identifier: Apache-2.0
"""SPECIAL instructions that are illegal, each by one change, and those that are just legal."""

from kiwicha.machine.isa import ErrorCode, SpecialOperation

__all__ = [
    "FAULTS", "FIXED_FAULTS", "FIXED_LEGAL", "LEGAL", "LOSS_FAULTS", "LOSS_LEGAL", "PLAIN",
]

TABLE, ADD, SOFTMAX, NORMALIZE, MUL, LOSS = SpecialOperation
FIELD, RANGE = ErrorCode.ILLEGAL_FIELD, ErrorCode.SCRATCHPAD_RANGE

#: What makes the instruction below illegal, and which error that is. The memories have 256 bytes a
#: lane, the tables 512 entries, and there are two lanes.
PLAIN = {
    "signal": 1, "operation": TABLE, "rows": 4, "length": 10, "total": 7, "x": 0, "z": 0, "y": 0,
    "low": -128, "high": 127, "x_row": 0, "x_byte": 0, "z_row": 0, "z_byte": 0, "table": 0,
    "shift": 20, "zero_point": 0, "x_signed": 0, "uncentred": 0, "x_zero": 0,
}
FAULTS = [
    ({"operation": 5}, FIELD),
    ({"operation": 8}, FIELD),
    ({"operation": 15}, FIELD),
    ({"reserved0": 1}, FIELD),
    ({"z_row": 1}, FIELD),
    ({"operation": NORMALIZE, "x_row": 1}, FIELD),
    ({"operation": NORMALIZE, "x_byte": 1}, FIELD),
    ({"operation": SOFTMAX, "z_byte": 1}, FIELD),
    ({"uncentred": 1}, FIELD),
    ({"operation": MUL, "uncentred": 1}, FIELD),
    ({"x_zero": -128}, FIELD),
    ({"operation": NORMALIZE, "x_zero": 1}, FIELD),
    ({"rows": 0}, FIELD),
    ({"length": 0}, FIELD),
    ({"total": 0}, FIELD),
    ({"total": 9}, FIELD),
    ({"total": (1 << 32) - 1}, FIELD),
    ({"low": 128}, FIELD),
    ({"high": 256}, FIELD),
    ({"low": -257}, FIELD),
    ({"zero_point": 300}, FIELD),
    ({"operation": NORMALIZE, "shift": 32}, FIELD),
    ({"operation": NORMALIZE, "shift": -1}, FIELD),
    ({"operation": MUL, "shift": 120}, FIELD),
    ({"x": 217}, RANGE),
    ({"y": 217}, RANGE),
    ({"operation": ADD, "z": 217}, RANGE),
    ({"operation": ADD, "z": 1 << 31}, RANGE),
    ({"operation": MUL, "z": 217}, RANGE),
    ({"operation": MUL, "z": 247, "z_row": 1}, RANGE),
    ({"operation": ADD, "z": 253, "z_byte": 1}, RANGE),
    ({"operation": ADD, "x": 247, "x_row": 1}, RANGE),
    ({"operation": MUL, "x": 253, "x_byte": 1}, RANGE),
    ({"operation": MUL, "y": 217, "x_byte": 1, "z_byte": 1}, RANGE),
    ({"operation": ADD, "z": 256, "z_row": 1, "z_byte": 1}, RANGE),
    ({"x": 256}, RANGE),
    ({"x": 1 << 31}, RANGE),
    ({"length": 65}, RANGE),
    ({"length": 0xFFFF}, RANGE),
    ({"length": 0x8000, "rows": 0x8000, "total": 0x8000}, RANGE),
    ({"rows": 0xFFFF, "total": 0x10001}, RANGE),
    ({"table": 2}, RANGE),
    ({"table": 15}, RANGE),
    ({"operation": NORMALIZE, "table": 1, "rows": 1, "total": 1, "length": 257}, RANGE),
]
#: The same where sums and products are in fixed point: their multiplier is above 20 bits of places.
FIXED_FAULTS = [
    ({"operation": MUL, "shift": 31}, FIELD),
    ({"operation": MUL, "shift": -32}, FIELD),
    ({"operation": ADD, "shift": 120}, FIELD),
    ({"operation": ADD, "shift": -128}, FIELD),
    ({"operation": ADD, "shift": -20, "y": 1 << 27}, FIELD),
    ({"operation": MUL, "shift": -20, "y": 1 << 31}, FIELD),
    ({"operation": ADD, "shift": -20, "x": 217}, RANGE),
    ({"operation": MUL, "shift": -20, "z": 1 << 19}, RANGE),
    ({"operation": ADD, "shift": -20, "x": 1 << 19 | 1 << 20}, RANGE),
    ({"operation": ADD, "shift": -20, "z": 256 | 1 << 31}, RANGE),
    ({"operation": MUL, "shift": -20, "y": 256 | 1 << 26}, RANGE),
    ({"x": 1 << 20}, RANGE),
    ({"y": 1 << 31}, RANGE),
    ({"operation": SOFTMAX, "x": 1 << 20}, RANGE),
]
FIXED_LEGAL = [
    {"operation": ADD, "shift": -31, "x": 216 | 0xFFF << 20, "z": 0xFFF << 20, "y": 127 << 20},
    {"operation": ADD, "shift": 30, "z": 1 << 31, "y": 64 << 20},
    {"operation": MUL, "shift": 12, "x": 216, "z": 216, "y": 216 | 64 << 20},
    {"operation": MUL, "shift": -3, "y": 127 << 20, "z_row": 1, "z": 246 | 5 << 20},
]
#: And of the machine that learns: it has 4 slots and rows of 32 logits at most, with the label of
#: row 3 at z + 3.
LOGITS = {"operation": LOSS, "z_byte": 1, "z": 252}
LOSS_FAULTS = [
    ({"operation": 6}, FIELD),
    (LOGITS | {"length": 33, "total": 5}, FIELD),
    (LOGITS | {"z_byte": 0}, FIELD),
    (LOGITS | {"z_row": 1}, FIELD),
    (LOGITS | {"x_row": 1}, FIELD),
    (LOGITS | {"x_byte": 1}, FIELD),
    (LOGITS | {"table": 4}, FIELD),
    (LOGITS | {"table": 15}, FIELD),
    (LOGITS | {"uncentred": 1}, FIELD),
    (LOGITS | {"x_zero": 1}, FIELD),
    (LOGITS | {"high": 256}, FIELD),
    (LOGITS | {"total": 9}, FIELD),
    (LOGITS | {"x": 217}, RANGE),
    (LOGITS | {"y": 217}, RANGE),
    (LOGITS | {"z": 253}, RANGE),
    (LOGITS | {"z": 1 << 31}, RANGE),
    ({"z_byte": 1}, FIELD),
    ({"table": 2}, RANGE),
]
LOSS_LEGAL = [LOGITS, LOGITS | {"length": 32, "table": 3}, LOGITS | {"x": 216, "y": 216}]
LEGAL = [{"x": 216, "y": 216, "z": 217, "table": 1, "total": 8}, {"length": 64},
         {"operation": MUL, "shift": 119}, {"operation": MUL, "z": 246, "z_row": 1},
         {"operation": ADD, "z": 252, "z_byte": 1, "x": 246, "x_row": 1},
         {"operation": ADD, "z": 255, "z_row": 1, "z_byte": 1}]
