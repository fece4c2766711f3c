"""Pure tensor functions, each with its equation and source."""
