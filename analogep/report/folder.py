"""Writing a folder all at once: the old one stays until the new one is complete."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from analogep.errors import DataError

MARKER = ".analogep-report"
"""File that tells a report of ours, with the names of the files that it holds."""


def replace_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write into a new folder, then put that in the place of `folder`.

    Parameters
    ----------
    folder : does not exist, is empty, or is an earlier report to which nothing was added.
    fill : writes files into the folder that it is given.

    Raises
    ------
    DataError
        If `folder` holds anything else, or cannot be written.
    """
    folder = Path(os.path.abspath(folder)) if not folder.is_symlink() else folder.resolve()
    check_folder(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{folder.name}.new-", dir=folder.parent))
    except OSError as error:
        raise DataError(f"cannot write the report {folder}: {error.strerror}") from error
    try:
        fill(building)
        names = sorted(path.relative_to(building).as_posix() for path in building.rglob("*") if path.is_file())
        (building / MARKER).write_text(json.dumps({"files": [*names, MARKER]}, indent=1) + "\n", encoding="utf-8")
        mask = os.umask(0)
        os.umask(mask)
        building.chmod(0o777 & ~mask)  # mkdtemp keeps it to its owner
        check_folder(folder)  # again: filling takes seconds
        _exchange(folder, building)
    except OSError as error:
        raise DataError(f"cannot write the report {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def check_folder(folder: Path) -> None:
    """Refuse to replace what is not an earlier report."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise DataError(f"{folder} is a file; choose a folder for the report")
    if not any(folder.iterdir()):
        return
    try:
        ours = set(json.loads((folder / MARKER).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder} is not an analogep report; choose another folder, or move it away") from error
    held = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    foreign = sorted(held - ours)
    if foreign:
        raise DataError(f"{folder} holds {foreign[0]!r}, which the report did not write; move it away first")


def _exchange(folder: Path, building: Path) -> None:
    """Rename `building` to `folder`; an earlier `folder` comes back if that fails."""
    if not folder.exists():
        building.rename(folder)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old-", dir=folder.parent))
    old = aside / folder.name
    try:
        folder.rename(old)
        building.rename(folder)
    except BaseException:  # an interrupt too
        if not folder.exists() and old.exists():
            old.rename(folder)
        raise
    finally:
        if folder.exists():
            shutil.rmtree(aside, ignore_errors=True)
