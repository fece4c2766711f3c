"""The command line: it parses and prints. One file is one command; how such a file looks stands in `main.py`."""
