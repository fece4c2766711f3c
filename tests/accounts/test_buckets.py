"""How much a minute: steady, saved up for one minute, fair between keys."""

import math

import pytest
from tests.accounts.conftest import Clock

from luthier.accounts import buckets
from luthier.accounts.buckets import Buckets


def test_a_full_bucket_gives_a_minutes_worth_and_then_one_by_one(clock: Clock):
    bucket = Buckets(clock)
    taken = [bucket.take("a", 3) for _ in range(4)]
    assert [(one.granted, one.remaining) for one in taken] == [(True, 2), (True, 1), (True, 0), (False, 0)]
    assert taken[-1].wait_s == pytest.approx(20)  # 3 a minute: one every 20 s
    assert [one.reset_s for one in taken] == pytest.approx([20, 40, 60, 60])
    clock.at += 19.9
    assert not bucket.take("a", 3).granted
    clock.at += 0.11
    assert bucket.take("a", 3).granted and not bucket.take("a", 3).granted


def test_no_more_than_a_minutes_worth_is_saved(clock: Clock):
    bucket = Buckets(clock)
    bucket.take("a", 2)
    clock.at += 3600
    assert [bucket.take("a", 2).granted for _ in range(3)] == [True, True, False]


def test_one_that_takes_much_empties_no_other(clock: Clock):
    bucket = Buckets(clock)
    for _ in range(1000):
        bucket.take("greedy", 10)
    assert not bucket.take("greedy", 10).granted and bucket.take("modest", 10).granted


def test_over_an_hour_a_key_gets_what_it_may_and_the_first_minutes_worth(clock: Clock):
    """60 a minute, asked 10 times a second: 60 at once, then 60 each minute."""
    bucket, granted = Buckets(clock), 0
    for _ in range(36_000):
        granted += bucket.take("a", 60).granted
        clock.at += 0.1
    assert granted == pytest.approx(60 + 3600, abs=2)


def test_what_never_fits_is_told_apart(clock: Clock):
    taken = Buckets(clock).take("a", 100, 101)
    assert math.isinf(taken.wait_s) and taken.remaining == 100


def test_what_was_taken_too_much_comes_back_and_too_little_is_owed(clock: Clock):
    bucket = Buckets(clock)
    bucket.take("a", 100, 80)
    bucket.settle("a", 100, -50)  # 30 were used
    assert bucket.take("a", 100, 70).granted
    bucket.settle("a", 100, 40)
    refused = bucket.take("a", 100, 1)
    assert (refused.remaining, refused.wait_s) == (0, pytest.approx(41 / 100 * 60))
    bucket.settle("a", 100, -1000)
    assert bucket.take("a", 100, 100).granted and not bucket.take("a", 100, 1).granted


def test_a_smaller_limit_holds_at_once(clock: Clock):
    bucket = Buckets(clock)
    bucket.take("a", 1000)
    assert bucket.take("a", 5).remaining == 4


def test_buckets_that_say_nothing_are_forgotten(clock: Clock, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(buckets, "MOST", 100)
    bucket = Buckets(clock)
    for number in range(500):
        bucket.take(str(number), 1)
        clock.at += 1
    assert len(bucket._levels) <= 101 and not bucket.take("499", 1).granted
