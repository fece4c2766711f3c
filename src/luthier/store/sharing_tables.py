"""The table of models that other projects may use. A change here goes with a file in `migrations/versions`, as in `tables.py`."""

from sqlalchemy import Column, Double, ForeignKey, Index, Table, Text, UniqueConstraint

from luthier.store.naming import metadata

shared_models = Table(
    "shared_models",
    metadata,
    Column("id", Text, primary_key=True),
    Column("model", Text, ForeignKey("models.name", ondelete="CASCADE"), nullable=False),
    Column("project", Text, nullable=False),  # that may use it, besides its own
    Column("created_at", Double, nullable=False),
    UniqueConstraint("model", "project", name="uq_shared_models_model"),
    Index("ix_shared_models_project", "project"),
)
