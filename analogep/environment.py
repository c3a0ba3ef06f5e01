"""What a result was made with: versions of everything that can change a number."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("analogep", "jax", "jaxlib", "diffrax", "equinox", "numpy", "scipy", "networkx", "xarray")


def versions() -> dict[str, str]:
    """Package name -> version, and Python's; `unknown` where a package was not installed as one."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found
