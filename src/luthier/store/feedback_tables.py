"""The tables of what people say about answers. A change here goes with a file in `migrations/versions`, as in `tables.py`."""

from sqlalchemy import JSON, Column, Double, ForeignKey, Index, Integer, Table, Text

from luthier.store.naming import metadata

feedback = Table(
    "feedback",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("project", Text, nullable=False),
    Column("key", Text, nullable=False),  # who told it
    Column("rater", Text, nullable=False),  # who said it: as told, or the key
    Column("kind", Text, nullable=False),  # thumb, rating, ranking, correction
    Column("model", Text),  # that answered
    Column("prompt", JSON, nullable=False),  # turns
    Column("answers", JSON, nullable=False),  # of each its turns
    Column("tools", JSON, nullable=False),
    Column("choice", Integer),  # which answer it is about; none for a ranking
    Column("said", JSON, nullable=False),  # {thumb: …}, {scores: …}, {ranks: …} or {correction: …}
    Column("comment", Text),
    Column("metadata", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
    Index("ix_feedback_project", "project", "number"),
    sqlite_autoincrement=True,  # the id of what was taken back is never another's
)

feedback_completions = Table(  # what feedback is about, where that is stored here
    "feedback_completions",
    metadata,
    Column("feedback", Integer, ForeignKey("feedback.number", ondelete="CASCADE"), primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("completion", Text, nullable=False),
    Index("ix_feedback_completions_completion", "completion"),
)
