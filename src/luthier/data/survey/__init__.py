"""What data files hold: counted in one pass, with what in them would hurt a training run, and a copy without it."""
