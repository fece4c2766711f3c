"""How good a model is: metrics, simple rivals to hold it against, and how quality grows with data."""
