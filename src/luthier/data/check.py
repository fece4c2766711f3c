"""What every row must satisfy before anything is computed on it, whichever format it came from."""

from luthier.errors import DataError
from luthier.spec.nearest import nearest
from luthier.spec.rows import Conversation, Document, Message, Origin, Row

ROLES = ("system", "user", "assistant", "tool")
OTHER_ROLES = {
    "bot": "assistant",
    "model": "assistant",
    "ai": "assistant",
    "gpt": "assistant",
    "agent": "assistant",
    "chatbot": "assistant",
    "human": "user",
    "customer": "user",
    "client": "user",
    "prompter": "user",
    "observation": "tool",
    "ipython": "tool",
}
"""What other tools call the roles."""


def check(row: Row) -> None:
    """Raise where a row cannot be learned from as it stands.

    Raises:
        DataError: names file, line and message, what was found, and what to do.
    """
    if isinstance(row, Document):
        if not row.text.strip():
            raise DataError(f"{row.origin}: `text` is empty, so there is nothing to learn. Remove the row.")
    else:
        _check_conversation(row)


def _check_conversation(row: Conversation) -> None:
    if not row.messages:
        raise DataError(f"{row.origin}: `messages` is empty. Remove the row.")
    learned = False
    for i, message in enumerate(row.messages, start=1):
        if message.role == "assistant":
            _check_answer(message, row.origin, i)
            learned = learned or message.weight > 0
        elif message.role not in ROLES:
            raise _unknown_role(message.role, row.origin, i)
        elif message.role == "tool":
            _check_result(message, row, i)
    last = row.messages[-1].role
    if last != "assistant":
        raise DataError(
            f'{row.origin}: the last message has role "{last}". What is learned is the assistant\'s answer: add it, or remove the row.'
        )
    if not learned:
        raise DataError(
            f"{row.origin}: every assistant message has weight 0, so nothing is learned. Give one a weight of 1, or remove the row."
        )


def _check_answer(message: Message, origin: Origin, number: int) -> None:
    if not message.tool_calls and (not message.content or message.content.isspace()):
        raise DataError(f"{origin}: the answer in message {number} is empty. Write it, or remove the row.")
    if message.weight < 0:
        raise DataError(f"{origin}: `weight` of message {number} is {message.weight:g}; it must be 0 (not learned) or above.")


def _check_result(message: Message, row: Conversation, number: int) -> None:
    """A tool's result answers a call made before it."""
    calls = [call.get("id") for turn in row.messages[: number - 1] for call in turn.tool_calls]
    if not calls:
        raise DataError(f'{row.origin}: message {number} has role "tool", but no message before it calls a tool. Add the call to it.')
    if message.tool_call_id is not None and message.tool_call_id not in calls:
        raise DataError(f'{row.origin}: message {number} answers the tool call "{message.tool_call_id}", which no message before it makes.')


def _unknown_role(role: str, origin: Origin, number: int) -> DataError:
    meant = OTHER_ROLES.get(role.lower()) or nearest(role, ROLES)
    remedy = f'use "{meant}"' if meant else 'use "system", "user", "assistant" or "tool"'
    return DataError(f'{origin}: message {number} has role "{role}"; {remedy}.')
