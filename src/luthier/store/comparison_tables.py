"""The tables of comparisons. A change here goes with a file in `migrations/versions`, as in `tables.py`."""

from sqlalchemy import JSON, Column, ForeignKey, Integer, Table, Text

from luthier.store.naming import metadata

comparisons = Table(
    "comparisons",
    metadata,
    Column("job", Text, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("a", Text, nullable=False),  # a model's own name: an alias is followed when it is asked for
    Column("b", Text, nullable=False),
    Column("prompts", Text),  # a file; none where they came with the request
    Column("asked", JSON, nullable=False),  # all of it
    Column("found", JSON),  # what came of it
)

comparison_examples = Table(
    "comparison_examples",
    metadata,
    Column("job", Text, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),  # from 1
    Column("body", JSON, nullable=False),  # a prompt, both answers, and the verdict
)
