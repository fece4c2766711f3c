"""One file an adapter: which weights learn, and how they are saved."""
