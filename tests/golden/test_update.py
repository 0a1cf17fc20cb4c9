# SPDX-License-Identifier: Apache-2.0
"""UPDATE on memory: where each value lies, what stays, and what is refused."""

import numpy as np
import pytest

from kiwicha.golden.optimizer import accumulate, optimize
from kiwicha.golden.update import illegal_update, update
from kiwicha.machine.isa import UPDATE

from ..update.cases import random_fields


@pytest.mark.parametrize("beat", [8, 16, 32])
@pytest.mark.parametrize("kind", ["plain", "momentum", "root", "both", "sums", "new sums"])
def test_takes_each_value_from_its_place(kind, beat):
    rng = np.random.default_rng(201)
    for count in (1, 7, 64, 101):
        fields = dict.fromkeys(UPDATE.members, 0) | random_fields(rng) | {
            "count": count, "wide": count % 2, "momentum": int(kind in ("momentum", "both")),
            "root": int(kind in ("root", "both")), "accumulate": int("sums" in kind),
            "begin": int("new" in kind), "gradient_shift": 3,
        }
        assert not illegal_update(fields, beat)
        parts, lanes = 1 + fields["momentum"] + fields["root"], beat // 4
        words = rng.integers(0, 1 << 32, -(-count // lanes) * lanes * parts)
        octets = rng.integers(0, 256, 4 * count + 5).astype(np.uint8)
        gradients = octets[: 4 * count] if fields["wide"] else octets
        state = words.astype("<u4").view(np.uint8)
        after, codes, over = update(fields, state, gradients, beat)
        expected, saturated = [int(word) for word in words], 0
        for number in range(count):
            group, lane = divmod(number, lanes)
            first = group * parts * lanes + lane
            places = [first + part * lanes for part in range(parts)]
            w = int(words[first]) - (int(words[first]) >> 31 << 32)
            m = (int(words[places[1]]) & 0xFFFFFF) if fields["momentum"] else 0
            m -= m >> 23 << 24
            v = int(words[places[-1]]) if fields["root"] else 0
            size = 4 if fields["wide"] else 1
            g = int.from_bytes(gradients.tobytes()[size * number :][:size], "little", signed=True)
            if fields["accumulate"]:
                total, flag = accumulate(fields, np.array([w]), np.array([g]))
                expected[first] = int(total[0]) & 0xFFFF_FFFF
            else:
                made = optimize(fields, *(np.array([value]) for value in (w, m, v, g)))
                values, flag = [int(column[0]) for column in made[:3]], made[4]
                kept = [True, bool(fields["momentum"]), bool(fields["root"])]
                new = [value for value, there in zip(values, kept, strict=True) if there]
                for place, value in zip(places, new, strict=True):
                    expected[place] = value & 0xFFFF_FFFF
                assert codes.view(np.int8)[number] == made[3][0]
            saturated += int(flag[0])
        # What is behind the last weight of the last group stayed.
        assert after.view("<u4").tolist() == expected
        assert over == saturated
        assert codes.size == (0 if fields["accumulate"] else count)


def test_names_what_is_illegal():
    fields = dict.fromkeys(UPDATE.members, 0) | {"count": 1, "c1": 65536}
    assert not illegal_update(fields, 8)
    for change, text in [
        ({"count": 0}, "count is 0; legal: 1 and more"),
        ({"gradient_shift": -17}, "gradient_shift is -17; legal: -16 to 31"),
        ({"c4": 65537}, "c4 is 65537; legal: 0 to 65536"),
        ({"codes": 12}, "codes is 0xc; legal: a multiple of 8"),
        ({"accumulate": 1, "root": 1}, "accumulate with moments"),
        ({"begin": 1}, "begin without accumulate"), ({"reserved0": 4}, "reserved0 is 4; legal: 0"),
    ]:
        assert illegal_update(fields | change, 8) == text
