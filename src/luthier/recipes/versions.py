"""Versions of what a run's arithmetic and text depend on."""

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("luthier", "torch", "transformers", "tokenizers", "safetensors", "numpy")


def versions() -> dict[str, str]:
    """Package → version, and Python's."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
