"""Luthier beside its peers, on one machine, in alternation: `make bench`."""
