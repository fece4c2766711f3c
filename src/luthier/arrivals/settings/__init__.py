"""Tools whose settings can be brought along, one file each.

A file has NAME; `recognizes(document)`, how many of its own marks a document has; and `translate(sheet)`, which takes every key it knows.
"""
