"""Alembic's environment: runs revisions on the connection that `migrate` hands over."""

from alembic import context

from genplatform.catalog.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
