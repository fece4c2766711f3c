"""Near duplicates, and the hashes of words that they are found by."""

import random

import numpy as np
import pytest

from luthier.data.survey.near import TEXTS, Signatures, similar
from luthier.data.survey.words import hashed, neighbours

WORDS = [f"w{i}" for i in range(3000)]


def text(seed: int, length: int = 40) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def found(*texts: str) -> list[tuple[int, int]]:
    signatures = Signatures()
    for one in texts:
        signatures.add(one)
    later, earlier = similar(*signatures.matrix())
    return list(zip(later.tolist(), earlier.tolist(), strict=True))


def test_words_are_hashed_as_words():
    hashes, offsets = hashed([b"how  are\tyou", b"", b"you are how", "über die Brücke".encode()])
    assert offsets.tolist() == [0, 3, 3, 6, 9]
    assert hashes[:3].tolist() == hashes[3:6][::-1].tolist()
    assert len(set(hashes.tolist())) == 6


def test_chinese_characters_are_words():
    hashes, offsets = hashed(["我们我 ok们".encode()])
    assert offsets.tolist() == [0, 5]
    assert hashes[0] == hashes[2] and hashes[1] == hashes[4]


def test_neighbours_stay_within_their_text():
    hashes, offsets = hashed([b"a b c", b"c", b"a b c"])
    pairs = neighbours(hashes, offsets)
    assert pairs[:3].tolist() == pairs[4:].tolist()
    assert pairs[2] == pairs[3]  # `c` at the end of a text, whatever comes after


def test_texts_without_a_word():
    hashes, offsets = hashed([b"", b"  "])
    assert (len(hashes), offsets.tolist(), len(neighbours(hashes, offsets))) == (0, [0, 0, 0], 0)


def test_a_text_with_one_word_changed_is_found():
    changed = text(1).split()
    changed[20] = "changed"
    assert found(text(1), text(2), " ".join(changed), text(3), text(1)) == [(2, 0), (4, 0)]


def test_the_same_words_in_another_order_are_another_text():
    few = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"] * 4
    orders = [" ".join(random.Random(seed).sample(few, len(few))) for seed in range(30)]
    assert found(*orders) == []


def test_short_texts_are_left_alone():
    assert found("What is the fee?", "What is the fee?", "What is my fee?") == []


def test_chinese_sentences_are_compared():
    said = "我想知道这张银行卡的年费是多少钱以及怎样才能免除"
    assert found(said, said.replace("多少", "几多"), "今天天气很好我们一起去公园散步吧你觉得怎么样呢") == [(1, 0)]


@pytest.mark.parametrize("number", [TEXTS - 1, TEXTS, TEXTS + 1])
def test_signatures_are_the_same_however_they_are_batched(number: int):
    signatures = Signatures()
    for i in range(number):
        signatures.add(text(i % 7))
    matrix, compared = signatures.matrix()
    assert matrix.shape == (number, 96) and compared.all()
    assert np.array_equal(matrix[0], matrix[7]) and not np.array_equal(matrix[0], matrix[1])


def test_nearly_all_pairs_above_the_threshold_are_found_and_hardly_any_below():
    """Of 50 words 3 are exchanged: similarity 47/53 = 0.89. 15 are: 35/65 = 0.54."""
    texts = [text(seed, 50) for seed in range(100)]
    close = [" ".join([*one.split()[:-3], "x", "y", "z"]) for one in texts]
    apart = [" ".join([*one.split()[:-15], *(f"v{i}" for i in range(15))]) for one in texts]
    assert sum(earlier < 100 for _, earlier in found(*texts, *close)) >= 97
    assert len(found(*texts, *apart)) == 0
