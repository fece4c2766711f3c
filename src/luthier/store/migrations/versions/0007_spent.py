"""What fine-tuning jobs took."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tunings", sa.Column("seconds", sa.Double(), server_default="0", nullable=False))
    op.add_column("tunings", sa.Column("energy_wh", sa.Double(), server_default="0", nullable=False))
