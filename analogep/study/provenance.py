"""What a measurement was made with: commit, script, versions."""

from __future__ import annotations

import hashlib
from pathlib import Path

import analogep


def commit(start: Path | None = None) -> str:
    """Git commit of the checkout that holds `start` (default: this package), or `none`; git itself is not run.

    It says what was checked out; whether files were changed since, it does not say.
    """
    at = (start or Path(analogep.__file__)).resolve()
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


def sources(path: Path | None) -> list[Path]:
    """A study's script and its helpers `_NAME*.py` beside it."""
    if path is None or not path.is_file():
        return []
    return [path, *sorted(path.parent.glob(f"_{path.stem}*.py"))]


def script_digest(path: Path | None) -> str:
    """Eight hexadecimal digits of the text of a study's script and helpers."""
    text = b"\0".join(source.read_bytes() for source in sources(path))
    return hashlib.sha256(text).hexdigest()[:8] if text else "none"
