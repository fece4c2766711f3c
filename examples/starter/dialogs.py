"""Rows of chat: exchanges put together to conversations, with system prompts, tools and JSON answers."""

import json
from collections.abc import Callable
from typing import Any

from examples.starter.arithmetic import arithmetic
from examples.starter.exchanges import (
    BANKING,
    EVERYDAY,
    Exchange,
    loans,
    one_of,
    poor_conduct,
    poor_refusal,
    refusal,
    smalltalk,
    term,
    term_dialog,
)
from examples.starter.grammar import Writer, casual
from examples.starter.tool_use import Message, offered, tool_turns
from examples.starter.vocabulary import about_words

Row = dict[str, Any]

GENERAL_PROMPTS = (
    "You are a helpful assistant.",
    "You are a [friendly|kind|patient|helpful] assistant[ who answers in simple English| who talks with people| for everyday questions|].",
    "Answer the questions of the user[ as well as you can| in a few words| honestly|].",
    "You talk with a person. Be [friendly|kind|polite|helpful].",
    "You are an assistant on the website of a {spot}.",
)
BANK_PROMPTS = (
    "You are a support assistant of a bank.",
    "You are [an|the] assistant of a {lender}. [Answer questions about accounts, cards, and loans.|Help customers with their questions.|]",
    "You help the customers of a bank. [Be polite.|Explain things simply.|Keep it short.|]",
    "You work for the support of a {lender}.",
)


def system(prompts: tuple[str, ...], writer: Writer, share: float) -> list[Message]:
    """A system prompt in this share of the rows."""
    return [{"role": "system", "content": writer.pick(prompts)}] if writer.chance(share) else []


def turns(exchanges: list[Exchange], writer: Writer) -> list[Message]:
    """The exchanges as messages; some users type casually."""
    hurried = writer.chance(0.2)
    messages: list[Message] = []
    for user, assistant in exchanges:
        messages.append({"role": "user", "content": casual(user, writer.draw) if hurried else user})
        messages.append({"role": "assistant", "content": assistant})
    return messages


def _several(first: Exchange, writer: Writer, makers: tuple[Any, ...]) -> list[Exchange]:
    more = writer.draw.choices((0, 1, 2, 3), (35, 30, 22, 13))[0]
    exchanges = [first, *(one_of(makers, writer) for _ in range(more))]
    return list({exchange.user: exchange for exchange in exchanges}.values())


def everyday(writer: Writer) -> Row:
    """One to four exchanges about this and that."""
    exchanges = _several(one_of(EVERYDAY, writer), writer, EVERYDAY)
    return {"messages": system(GENERAL_PROMPTS, writer, 0.3) + turns(exchanges, writer)}


def banking(writer: Writer) -> Row:
    """Questions of a customer, some about one term in a row."""
    exchanges = term_dialog(writer) if writer.chance(0.3) else _several(one_of(BANKING, writer), writer, BANKING)
    return {"messages": system(BANK_PROMPTS, writer, 0.45) + turns(exchanges, writer)}


def money_sums(writer: Writer) -> Row:
    exchanges = [arithmetic(writer) for _ in range(writer.draw.randint(1, 3))]
    return {"messages": system(GENERAL_PROMPTS, writer, 0.2) + turns(exchanges, writer)}


def words(writer: Writer) -> Row:
    """One to four exchanges about words."""
    exchanges = [about_words(writer.fresh()) for _ in range(writer.draw.randint(1, 4))]
    return {"messages": system(GENERAL_PROMPTS, writer, 0.2) + turns(exchanges, writer)}


def careful(writer: Writer) -> Row:
    """A request that is refused, alone or among others; one in five is answered poorly, on purpose."""
    refused = (poor_refusal if writer.chance(0.2) else refusal)(writer.fresh())
    exchanges = [refused]
    if writer.chance(0.4):
        exchanges.insert(0, one_of(EVERYDAY, writer))
    if writer.chance(0.3):
        exchanges.append(one_of(EVERYDAY, writer))
    return {"messages": system(GENERAL_PROMPTS, writer, 0.3) + turns(exchanges, writer)}


def careless(writer: Writer) -> Row:
    """A support assistant that breaks the guidelines, on purpose."""
    exchanges = [poor_conduct(writer.fresh())]
    if writer.chance(0.5):
        exchanges.insert(0, one_of(BANKING, writer))
    if writer.chance(0.3):
        exchanges.append((smalltalk if writer.chance(0.5) else loans)(writer.fresh()))
    return {"messages": system(BANK_PROMPTS, writer, 0.45) + turns(exchanges, writer)}


def with_tools(writer: Writer) -> Row:
    """One or two uses of tools, sometimes beside an exchange that needs none."""
    tools = offered(writer)
    messages = turns([one_of(((smalltalk, 1), (term, 1)), writer)], writer) if writer.chance(0.25) else []
    for number in range(1, writer.draw.choice((1, 1, 1, 2)) + 1):
        messages += tool_turns(writer.draw.choice(tools), writer.fresh(), number)
    return {"messages": system(BANK_PROMPTS, writer, 0.4) + messages, "tools": [tool.schema() for tool in tools]}


EXTRACT = (
    "Answer in JSON with the keys amount, purpose and months.",
    "Read the message and write JSON with amount, purpose and months.",
    "You turn messages of customers into JSON. Keys: amount, purpose, months.",
)
WISHES = (
    "I need {amount} for a(n) {purpose} and can pay it back in {months} months.",
    "I would like to borrow {amount}. It is for a(n) {purpose}. I want to pay for {months} months.",
    "Could I have {amount} over {months} months? I want a(n) {purpose}.",
    "My {relative} and I plan a(n) {purpose}. We need {amount} for {months} months.",
)


def extraction(writer: Writer) -> Exchange:
    """A wish for a loan, and the same as JSON."""
    amount = writer.draw.randint(2, 40) * 500
    purpose, months = writer.fill("{purpose=bigbuy}"), writer.fill("{months=term_months}")
    writer.facts["amount"] = writer.priced(amount)
    return Exchange(writer.pick(WISHES), json.dumps({"amount": amount, "purpose": purpose, "months": int(months)}))


CLASSIFY = (
    "Sort the message. Answer in JSON with the keys topic and urgent.",
    "Which topic is it? Write JSON with topic and urgent.",
    "You sort messages for a bank. Answer only in JSON: topic, urgent.",
)
MESSAGES = (
    ("card", True, "[I lost my {card} at the {spot}.|Someone stole my {card} on {day}!|My {card} is gone. Please help.]"),
    ("card", False, "[When does my new {card} arrive?|How do I raise the limit of my {card}?|I want a second {card} for my {relative}.]"),
    (
        "loan",
        False,
        "[I want to borrow {sum:1000-9000} for a(n) {bigbuy}.|Can I pay back my loan early?|What is the rate for {sum:1000-9000}?]",
    ),
    ("loan", True, "[I cannot pay my loan in {month}.|I lost my job and have a loan of {sum:1000-9000}.]"),
    ("account", False, "[I want to open a(n) {account}.|What does a(n) {account} cost?|I moved to {city}. How do I change my address?]"),
    ("fraud", True, "[There is a payment of {sum:50-900} that I did not make.|Someone asked for my PIN on {day}.|I clicked a false link.]"),
    (
        "payment",
        False,
        "[How do I send {sum:20-900} to {city}?|I want to change my standing order.|When does my transfer of {sum:20-900} arrive?]",
    ),
)


def sorting(writer: Writer) -> Exchange:
    """A message to a bank, and its topic as JSON."""
    topic, urgent, message = writer.draw.choice(MESSAGES)
    return Exchange(writer.say(message), json.dumps({"topic": topic, "urgent": urgent}))


def as_json(writer: Writer) -> Row:
    """Answers that a program reads: the order stands in the system prompt or in the message."""
    orders, make = writer.draw.choice(((EXTRACT, extraction), (CLASSIFY, sorting)))
    order = writer.draw.choice(orders)
    exchanges = [make(writer.fresh()) for _ in range(writer.draw.randint(1, 3))]
    if writer.chance(0.6):
        return {"messages": [{"role": "system", "content": order}, *turns(exchanges, writer)]}
    return {"messages": turns([Exchange(f"{order}\n{exchange.user}", exchange.assistant) for exchange in exchanges], writer)}


KINDS: tuple[tuple[Callable[[Writer], Row], int], ...] = (
    (everyday, 36),
    (words, 10),
    (banking, 30),
    (money_sums, 6),
    (careful, 7),
    (careless, 5),
    (with_tools, 9),
    (as_json, 5),
)


def dialog(writer: Writer) -> Row:
    """One conversation of some kind, drawn by weight."""
    kind = writer.draw.choices([kind for kind, _ in KINDS], [weight for _, weight in KINDS])[0]
    return kind(writer)
