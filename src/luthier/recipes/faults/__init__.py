"""What would go wrong in a run, found before its model is loaded: one file a family, each check a function that yields findings."""
