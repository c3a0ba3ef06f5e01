"""analogep: transformers as analog circuits that learn by local updates."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("analogep")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
