"""Messages ↔ token ids, and which tokens the assistant wrote. Tokenizers and jinja2 only: never torch, never transformers."""
