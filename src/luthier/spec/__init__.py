"""Every setting and every record, typed. `RunSpec` is the table of contents of the product."""
