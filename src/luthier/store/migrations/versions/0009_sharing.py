"""Models that other projects may use."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "shared_models",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["model"], ["models.name"], name="fk_shared_models_model", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_shared_models"),
        sa.UniqueConstraint("model", "project", name="uq_shared_models_model"),
    )
    op.create_index("ix_shared_models_project", "shared_models", ["project"])
