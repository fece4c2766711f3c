"""Files → checked rows."""
