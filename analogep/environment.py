"""What a result was made with: versions of everything that can change a number, and the commit."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

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


def commit(start: Path | None = None) -> str:
    """Git commit of the checkout that holds `start` (default: this package), or `none`; git itself is not run.

    It says what was checked out; whether files were changed since, it does not say.
    """
    at = (start or Path(__file__)).resolve()
    for folder in (at, *at.parents):
        git = folder / ".git"
        if git.exists():
            try:
                return _head(git) or "none"
            except OSError:
                return "none"
    return "none"


def _head(git: Path) -> str | None:
    """The commit that HEAD names, directly or by a loose or packed reference."""
    if git.is_file():  # a worktree: `gitdir: PATH`
        git = git.parent / git.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
    head = (git / "HEAD").read_text(encoding="utf-8").strip()
    if not head.startswith("ref:"):
        return head
    name = head.removeprefix("ref:").strip()
    common = git / "commondir"
    shared = git / common.read_text(encoding="utf-8").strip() if common.exists() else git
    for folder in (git, shared):
        if (folder / name).is_file():
            return (folder / name).read_text(encoding="utf-8").strip()
    packed = shared / "packed-refs"
    lines = packed.read_text(encoding="utf-8").splitlines() if packed.is_file() else []
    return next((line.split()[0] for line in lines if line.endswith(f" {name}")), None)
