"""Serving: many requests, many adapters, few bases, in a process of its own that the gateway talks to."""
