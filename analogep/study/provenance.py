"""What a measurement was made with: commit, script, versions."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from analogep.environment import commit as commit


def sources(path: Path | None) -> list[Path]:
    """A study's script, its helpers `_NAME_*.py` beside it, and what these import from other files `_*.py` there."""
    if path is None or not path.is_file():
        return []
    found = [path, *path.parent.glob(f"_{path.stem}_*.py")]
    for source in found:  # grows while it is read
        named = re.findall(r"^\s*from \.(_\w+) import", source.read_text(encoding="utf-8"), re.MULTILINE)
        beside = (path.parent / f"{name}.py" for name in named)
        found += [other for other in beside if other not in found and other.is_file()]
    return [path, *sorted(found[1:])]


def script_digest(path: Path | None) -> str:
    """Eight hexadecimal digits of the text of a study's script and helpers."""
    text = b"\0".join(source.read_bytes() for source in sources(path))
    return hashlib.sha256(text).hexdigest()[:8] if text else "none"
