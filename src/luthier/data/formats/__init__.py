"""One file a format: `read(path)` yields its rows, `sniff(sample)` says how surely a file has it, `mapping(sample)` where its fields go.

A format only maps fields. What every row must satisfy stands in `data/check.py`. A file of the user's own needs `read` alone.
"""
