"""Work that survives: a queue in the database, and workers that take from it."""
