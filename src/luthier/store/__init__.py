"""The database: what must outlive a process and be seen by several."""
