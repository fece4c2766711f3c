"""Load, probe, attention, the root module, roles, sampling."""
