"""Evals, their runs, and what came of each item."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "evals",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("data_source_config", sa.JSON(), nullable=False),
        sa.Column("testing_criteria", sa.JSON(), nullable=False),
        sa.Column("metadata", sa.JSON()),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_evals"),
    )
    op.create_index("ix_evals_project", "evals", ["project", "created_at"])
    op.create_table(
        "eval_runs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("eval", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("model", sa.Text()),
        sa.Column("data_source", sa.JSON(), nullable=False),
        sa.Column("metadata", sa.JSON()),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("num_items", sa.Integer()),
        sa.Column("error", sa.JSON()),
        sa.Column("tally", sa.JSON()),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["eval"], ["evals.id"], name="fk_eval_runs_eval", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_eval_runs"),
    )
    op.create_index("ix_eval_runs_eval", "eval_runs", ["eval", "created_at"])
    op.create_table(
        "eval_holds",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("lease", sa.Text()),
        sa.Column("lease_until", sa.Double()),
        sa.Column("tally", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["eval_runs.id"], name="fk_eval_holds_run", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run", name="pk_eval_holds"),
    )
    op.create_table(
        "eval_items",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("item", sa.JSON(), nullable=False),
        sa.Column("given", sa.JSON()),
        sa.Column("status", sa.Text()),
        sa.Column("results", sa.JSON()),
        sa.Column("sample", sa.JSON()),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["eval_runs.id"], name="fk_eval_items_run", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_eval_items"),
        sa.UniqueConstraint("run", "number", name="uq_eval_items_number"),
    )
    op.create_index("ix_eval_items_status", "eval_items", ["run", "status", "number"])
