"""HTTP: OpenAI's endpoints, and our own beside them. One file a resource; nothing here trains or draws."""
