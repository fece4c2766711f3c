"""Everything a method must not know: the loop, optimizer, checkpoints, certificate, run folder."""
