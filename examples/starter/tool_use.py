"""Conversations in which the assistant calls a tool, reads its result and answers."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from examples.starter.grammar import Writer

Message = dict[str, Any]


@dataclass(frozen=True)
class Use:
    """One use of a tool: the question, the call, what comes back, and the answer to it."""

    asked: str
    arguments: dict[str, Any]
    result: dict[str, Any]
    answer: str


@dataclass(frozen=True)
class Tool:
    """A function that the assistant may call, and how conversations about it go."""

    name: str
    description: str
    parameters: dict[str, str]
    use: Callable[[Writer], Use]

    def schema(self) -> dict[str, Any]:
        """The tool in OpenAI's shape."""
        properties = {name: {"type": kind} for name, kind in self.parameters.items()}
        parameters = {"type": "object", "properties": properties, "required": list(properties)}
        return {"type": "function", "function": {"name": self.name, "description": self.description, "parameters": parameters}}


def _balance(writer: Writer) -> Use:
    account, amount = writer.fill("{account}"), writer.draw.randint(10, 4000)
    money = writer.priced(amount)
    return Use(
        writer.pick((f"how much money is in my {account}?", f"what is the balance of my {account}?", f"please check my {account}.")),
        {"account": account},
        {"balance": amount, "currency": writer.facts["currency"]},
        writer.pick(
            (f"The balance of your {account} is {money}.", f"There is {money} in your {account}.", f"You have {money} in your {account}.")
        ),
    )


def _payment(writer: Writer) -> Use:
    months, monthly = int(writer.fill("{term_months}")), writer.draw.randint(40, 400)
    amount = round(months * monthly * 0.9, -2)
    money = writer.priced
    return Use(
        writer.pick(
            (
                f"what is the monthly payment for {money(amount)} over {months} months?",
                f"I want to borrow {money(amount)} for {months} months. What do I pay each month?",
            )
        ),
        {"amount": int(amount), "months": months},
        {"monthly_payment": monthly},
        writer.pick((f"The monthly payment is about {money(monthly)}.", f"You would pay {money(monthly)} each month for {months} months.")),
    )


def _weather(writer: Writer) -> Use:
    city, sky, degrees = writer.fill("{city}"), writer.fill("{weather}"), writer.draw.randint(-5, 32)
    return Use(
        writer.pick((f"how is the weather in {city}?", f"do I need a coat in {city}?", f"what is the weather like in {city} today?")),
        {"city": city},
        {"sky": sky, "degrees": degrees},
        writer.pick((f"In {city} it is {sky} and {degrees} degrees.", f"It is {sky} in {city}, with {degrees} degrees.")),
    )


def _rate(writer: Writer) -> Use:
    first, second = writer.draw.sample(("USD", "EUR", "GBP", "CHF", "JPY", "CAD"), 2)
    rate = writer.draw.randint(60, 180) / 100
    return Use(
        writer.pick((f"what is the exchange rate from {first} to {second}?", f"how many {second} do I get for one {first}?")),
        {"from": first, "to": second},
        {"rate": rate},
        writer.pick((f"One {first} is {rate} {second}.", f"The rate is {rate}: for one {first} you get {rate} {second}.")),
    )


def _branch(writer: Writer) -> Use:
    city, spot, hour = writer.fill("{city}"), writer.fill("{spot}"), writer.fill("{hour}")
    return Use(
        writer.pick((f"is there a branch in {city}?", f"where is your branch in {city}?", f"I am in {city} and need a branch.")),
        {"city": city},
        {"place": f"next to the {spot}", "open_until": hour},
        writer.pick(
            (
                f"Yes, our branch in {city} is next to the {spot}. It is open until {hour}.",
                f"You find us next to the {spot} in {city}, open until {hour}.",
            )
        ),
    )


def _block(writer: Writer) -> Use:
    card = writer.fill("{card}")
    return Use(
        writer.pick((f"I lost my {card}. Please block it.", f"someone stole my {card}!", f"please block my {card}.")),
        {"card": card},
        {"blocked": True, "new_card_in_days": (days := writer.draw.randint(3, 9))},
        writer.pick(
            (
                f"Your {card} is blocked. A new one arrives in {days} days.",
                f"Done: the {card} is blocked, and the new card comes in {days} days.",
            )
        ),
    )


def _remind(writer: Writer) -> Use:
    what = writer.fill(
        "[pay the rent|call my {relative}|buy {fruit} juice|pay the loan|bring back the book|water the plants|send the form]"
    )
    day = writer.fill("{day}")
    yours = what.replace("my ", "your ")
    return Use(
        writer.pick((f"remind me on {day} to {what}.", f"please set a reminder for {day}: {what}.", f"I must {what} on {day}. Remind me.")),
        {"text": what, "day": day},
        {"saved": True},
        writer.pick((f"I will remind you on {day} to {yours}.", f"The reminder for {day} is saved: {yours}.")),
    )


def _spending(writer: Writer) -> Use:
    group, month, amount = writer.fill("[food|rent|clothes|travel|power|books]"), writer.fill("{month}"), writer.draw.randint(10, 900)
    money = writer.priced(amount)
    return Use(
        writer.pick((f"how much did I spend on {group} in {month}?", f"what did {group} cost me in {month}?")),
        {"group": group, "month": month},
        {"total": amount},
        writer.pick((f"In {month} you spent {money} on {group}.", f"You spent {money} on {group} in {month}.")),
    )


TOOLS = (
    Tool("get_balance", "Balance of an account.", {"account": "string"}, _balance),
    Tool("monthly_payment", "Monthly payment of a loan.", {"amount": "number", "months": "integer"}, _payment),
    Tool("get_weather", "Weather in a city.", {"city": "string"}, _weather),
    Tool("exchange_rate", "Rate between two currencies.", {"from": "string", "to": "string"}, _rate),
    Tool("find_branch", "Finds a branch of the bank.", {"city": "string"}, _branch),
    Tool("block_card", "Blocks a lost card.", {"card": "string"}, _block),
    Tool("set_reminder", "Saves a reminder.", {"text": "string", "day": "string"}, _remind),
    Tool("get_spending", "What was spent in a month.", {"group": "string", "month": "string"}, _spending),
)

FAILED = (
    "I am sorry, that did not work. [Please try again later.|Shall I try again?]",
    "I could not find that. [Is the name right?|Please check what you wrote.]",
)


def tool_turns(tool: Tool, writer: Writer, number: int) -> list[Message]:
    """Question, call, result and answer; one result in twelve is an error."""
    use = tool.use(writer)
    failed = writer.chance(1 / 12)
    result = {"error": writer.draw.choice(("not found", "no connection", "try again later"))} if failed else use.result
    arguments = json.dumps(use.arguments, ensure_ascii=False)
    call = {"id": f"call_{number}", "type": "function", "function": {"name": tool.name, "arguments": arguments}}
    return [
        {"role": "user", "content": use.asked},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": json.dumps(result, ensure_ascii=False)},
        {"role": "assistant", "content": writer.pick(FAILED) if failed else use.answer},
    ]


def offered(writer: Writer) -> tuple[Tool, ...]:
    """One to three tools that a conversation offers."""
    return tuple(writer.draw.sample(TOOLS, writer.draw.randint(1, 3)))
