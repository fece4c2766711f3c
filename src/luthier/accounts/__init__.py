"""Who may do what: projects, the keys to them, what each may use, and the record of what was done."""
