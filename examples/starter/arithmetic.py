"""Sums with money, worked out in one or two steps."""

from collections.abc import Callable

from examples.starter.exchanges import Exchange
from examples.starter.grammar import Writer


def left_over(writer: Writer) -> Exchange:
    have = writer.draw.randint(2, 99) * 10
    spent = writer.draw.randint(1, have // 10) * 10
    item = writer.fill("{thing}")
    money = writer.priced
    asked = writer.pick(
        (
            f"I have {money(have)} and spend {money(spent)}. How much is left?",
            f"What is {money(have)} minus {money(spent)}?",
            f"A(n) {item} costs {money(spent)}. I pay with {money(have)}. How much do I get back?",
        )
    )
    return Exchange(
        asked,
        writer.pick(
            (
                f"{money(have)} - {money(spent)} = {money(have - spent)}.",
                f"{money(have - spent)} is left.",
                f"You have {money(have - spent)} left: {money(have)} minus {money(spent)}.",
            )
        ),
    )


def together(writer: Writer) -> Exchange:
    first, second = (writer.draw.randint(1, 60) * 5 for _ in range(2))
    money = writer.priced
    total = money(first + second)
    asked = writer.pick(
        (
            f"what is {money(first)} plus {money(second)}?",
            f"I pay {money(first)} for rent and {money(second)} for food. How much is that together?",
            f"The {{small_thing}} costs {money(first)} and the {{small_thing}} {money(second)}. What do I pay?",
            f"add {money(first)} and {money(second)}.",
        )
    )
    return Exchange(
        asked, writer.pick((f"Together it is {total}.", f"{money(first)} + {money(second)} = {total}.", f"That makes {total}."))
    )


def several(writer: Writer) -> Exchange:
    price, count = writer.draw.randint(2, 12), writer.draw.randint(2, 12)
    money = writer.priced
    total = money(price * count)
    asked = writer.pick(
        (
            f"one ticket costs {money(price)}. What do {count} tickets cost?",
            f"what is {count} times {money(price)}?",
            f"I save {money(price)} a week. How much do I have after {count} weeks?",
            f"I buy {count} books for {money(price)} each. How much is it?",
        )
    )
    return Exchange(
        asked,
        writer.pick(
            (
                f"{count} x {money(price)} = {total}.",
                f"That is {total}.",
                f"It is {total}, because {count} times {money(price)} is {total}.",
            )
        ),
    )


def shared(writer: Writer) -> Exchange:
    each, people = writer.draw.randint(2, 20), writer.draw.randint(2, 10)
    money = writer.priced
    bill = money(each * people)
    asked = writer.pick(
        (
            f"{people} friends share a bill of {bill}. How much does each pay?",
            f"what is {bill} divided by {people}?",
            f"we are {people} people and the rent is {bill}. What does each of us pay?",
        )
    )
    return Exchange(
        asked, writer.pick((f"Each pays {money(each)}.", f"{bill} / {people} = {money(each)}.", f"It is {money(each)} for each."))
    )


def percentage(writer: Writer) -> Exchange:
    share, amount = writer.draw.choice((1, 2, 3, 4, 5, 10, 20, 25, 50)), writer.draw.randint(1, 30) * 100
    money = writer.priced
    part = money(amount * share / 100)
    asked = writer.pick(
        (
            f"what is {share} percent of {money(amount)}?",
            f"how much interest do I get for {money(amount)} at {share} percent in a year?",
            f"I borrow {money(amount)} at {share} percent. What is the interest for one year?",
        )
    )
    return Exchange(
        asked,
        writer.pick((f"{share} percent of {money(amount)} is {part}.", f"It is {part}.", f"{money(amount)} x {share} / 100 = {part}.")),
    )


def instalments(writer: Writer) -> Exchange:
    months, payment = writer.draw.choice((6, 10, 12, 20, 24, 36)), writer.draw.randint(2, 40) * 10
    money = writer.priced
    total = money(months * payment)
    if writer.chance(0.5):
        asked = writer.pick(
            (
                f"I pay {money(payment)} a month for {months} months. How much is it in total?",
                f"a loan takes {months} payments of {money(payment)}. What do I pay in all?",
            )
        )
        return Exchange(asked, writer.pick((f"In total you pay {total}.", f"{months} x {money(payment)} = {total}.")))
    asked = writer.pick(
        (
            f"I want to pay back {total} in {months} months without interest. How much is it a month?",
            f"how much is {total} spread over {months} months?",
        )
    )
    return Exchange(asked, writer.pick((f"It is {money(payment)} a month.", f"{total} / {months} = {money(payment)} a month.")))


def compared(writer: Writer) -> Exchange:
    first, second = writer.draw.sample(range(10, 900, 5), 2)
    money = writer.priced
    more = writer.chance(0.5)
    asked = writer.pick(
        (
            f"what is {'more' if more else 'less'}, {money(first)} or {money(second)}?",
            f"which price is {'higher' if more else 'lower'}: {money(first)} or {money(second)}?",
        )
    )
    answer = money(max(first, second) if more else min(first, second))
    return Exchange(asked, writer.pick((f"{answer}.", f"{answer} is {'more' if more else 'less'}.")))


SUMS: tuple[Callable[[Writer], Exchange], ...] = (left_over, together, several, shared, percentage, instalments, compared)


def arithmetic(writer: Writer) -> Exchange:
    """A question with numbers and its answer."""
    return writer.draw.choice(SUMS)(writer.fresh())
