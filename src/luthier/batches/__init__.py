"""Rows → streams, lots, and the order in which they are seen."""
