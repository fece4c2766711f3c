"""One file a training method: what to collect and what to lose."""
