"""What people bring along from elsewhere: settings of other tools, and what they have at OpenAI. Needs no torch."""
