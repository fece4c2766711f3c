"""How Alembic reaches the database: by the connection it is handed."""

from alembic import context

from luthier.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True, transaction_per_migration=False
)
context.run_migrations()
