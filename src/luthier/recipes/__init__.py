"""One file a thing people do."""
