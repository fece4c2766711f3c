"""Batches of requests, and what was answered."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("input_file", sa.Text(), nullable=False),
        sa.Column("metadata", sa.JSON()),
        sa.Column("output_expires_after_s", sa.Integer()),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("moments", sa.JSON(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("errors", sa.JSON()),
        sa.Column("total", sa.Integer()),
        sa.Column("completed", sa.Integer()),
        sa.Column("failed", sa.Integer()),
        sa.Column("model", sa.Text()),
        sa.Column("output_file", sa.Text()),
        sa.Column("error_file", sa.Text()),
        sa.Column("lease", sa.Text()),
        sa.Column("lease_until", sa.Double()),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_batches"),
    )
    op.create_index("ix_batches_project", "batches", ["project", "created_at"])
    op.create_index("ix_batches_status", "batches", ["status", "created_at"])
    op.create_table(
        "batch_answers",
        sa.Column("batch", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Boolean(), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["batch"], ["batches.id"], name="fk_batch_answers_batch", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("batch", "number", name="pk_batch_answers"),
    )
