"""A class as words: a labeled text is the user's turn, the name of its class the assistant's answer, exactly as the data spells it."""

from luthier.spec.rows import Conversation, Labeled, Message


def conversation_of(row: Labeled) -> Conversation:
    """What a labeled row teaches, and what is asked when it is classified."""
    return Conversation((Message("user", row.text), Message("assistant", row.label)), row.origin)
