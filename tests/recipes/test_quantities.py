"""Numbers as a person reads them."""

import pytest

from luthier.recipes import quantities


@pytest.mark.parametrize(
    "written, expected",
    [
        (quantities.duration(0.42), "0.4 s"),
        (quantities.duration(59.4), "59 s"),
        (quantities.duration(200), "3 min 20 s"),
        (quantities.duration(7500), "2 h 5 min"),
        (quantities.memory(820 * 2**20), "820 MiB"),
        (quantities.memory(3.1 * 2**30), "3.1 GiB"),
        (quantities.energy(0.0902), "0.09 Wh"),
        (quantities.energy(42.4), "42 Wh"),
        (quantities.energy(1240), "1.24 kWh"),
        (quantities.power_of_ten(2.4e-7), "2.4 × 10⁻⁷"),
        (quantities.power_of_ten(1e-5), "1.0 × 10⁻⁵"),
        (quantities.power_of_ten(0.0), "0"),
        (quantities.power_of_ten(None), "–"),
        (quantities.power_of_ten(float("inf")), "not a number"),
        (quantities.one_part_in(3.5e-7), "1 part in 2.9 million"),
        (quantities.one_part_in(6.8e-6), "1 part in 147,000"),
        (quantities.one_part_in(0.5), "1 part in 2"),
        (quantities.one_part_in(0.0), "nothing at all"),
        (quantities.metric("token_accuracy", 0.5674), "56.7 %"),
        (quantities.metric("loss/dialogs", 2.5102), "2.5102"),
        (quantities.words("token_accuracy"), "token accuracy"),
        (quantities.words("bits_per_byte"), "bits/byte"),
    ],
)
def test_a_number_as_it_is_written(written: str, expected: str):
    assert written == expected


def test_a_rate_of_learning_is_no_share():
    assert not quantities.is_share("learning_rate") and quantities.is_share("clip_fraction")
