"""Luthier: fine-tune open language models on your own hardware."""
