"""The folder of a sweep: what it is, and a journal to which finished points are added for good."""

from __future__ import annotations

import fcntl
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from analogep.errors import DataError
from analogep.files import whole_file
from analogep.sweep.plan import Plan
from analogep.sweep.work import Row

FORMAT = 1
MANIFEST, JOURNAL, DATASET, SUMMARY = "sweep.json", "points.log", "sweep.nc", "quantiles.nc"


class Store:
    """An open folder; it is one process's alone until it is closed.

    A line of the journal is a checksum and a row in JSON. It is written in one piece and forced to the disk before the
    sweep goes on, so a sweep that is killed loses no more than the points that were being measured. A line that was
    torn is dropped when the folder is opened again.

    Parameters
    ----------
    folder : made if it does not exist.
    plan : the sweep that it holds, or will hold.

    Raises
    ------
    DataError
        If the folder cannot be written, holds another sweep or one by other versions, is in use, or is damaged.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{self.folder}: cannot make the folder: {error.strerror}") from None
        self._agree(plan)
        self._file = self._open()
        self.rows: dict[str, Row] = self._read()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)  # and with it the lock

    @property
    def _journal(self) -> Path:
        return self.folder / JOURNAL

    def _agree(self, plan: Plan) -> None:
        """Say in a new folder what it will hold; see in an old one that it holds the same."""
        path, wanted = self.folder / MANIFEST, {"format": FORMAT, **plan.configuration}
        if not path.exists():
            if self._journal.exists():
                raise DataError(f"{self.folder}: has {JOURNAL} but no {MANIFEST}; choose another folder with -o")
            with whole_file(path) as partial:
                partial.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")
            return
        try:
            there = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read: {error}") from None
        if there != wanted:
            raise DataError(
                f"{self.folder}: holds another sweep ({_difference(there, wanted)}), and going on would mix the two; "
                "choose another folder with -o"
            )

    def _open(self) -> int:
        try:
            file = os.open(self._journal, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise DataError(f"{self._journal}: cannot write the file: {error.strerror}") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            raise DataError(
                f"{self.folder}: another sweep is writing here; wait for it, or choose another folder"
            ) from None
        return file

    def _read(self) -> dict[str, Row]:
        """Rows of the journal, the last one of a point; what follows the last whole line is cut off."""
        text = self._journal.read_bytes()
        whole, rows = text.rfind(b"\n") + 1, {}
        for number, line in enumerate(text[:whole].splitlines(), start=1):
            row = _parse(line)
            if row is None:
                os.close(self._file)
                raise DataError(
                    f"{self._journal}: line {number} is damaged; remove that line to measure its point anew"
                )
            rows[row.digest] = row
        if whole < len(text):
            os.ftruncate(self._file, whole)
        return rows

    def add(self, rows: Sequence[Row]) -> None:
        """Write rows for good.

        Raises
        ------
        DataError
            If they cannot be written, for one because the disk is full; the journal then ends as it did before.
        """
        before = os.fstat(self._file).st_size
        text = memoryview(b"".join(_line(row) for row in rows))
        try:
            while text:
                text = text[os.write(self._file, text) :]
            os.fsync(self._file)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._file, before)
            raise DataError(
                f"{self._journal}: cannot write the file: {error.strerror}; what was measured before is kept, run the "
                "sweep again to go on"
            ) from None
        self.rows |= {row.digest: row for row in rows}


def _line(row: Row) -> bytes:
    text = json.dumps(row.plain(), separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _parse(line: bytes) -> Row | None:
    """The row of a line; None if the line is damaged."""
    checksum, _, text = line.partition(b" ")
    try:
        return Row(**json.loads(text)) if int(checksum, 16) == zlib.crc32(text) else None
    except (ValueError, TypeError):
        return None


def _difference(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The first thing in which two manifests differ."""
    words = {
        "axes": "its axes differ", "measures": "it measures something else", "spec": "its spec differs",
        "points": "files that its specs name have changed", "format": "its format is of another version of analogep",
    }  # fmt: skip
    if not isinstance(there, Mapping):
        return "its manifest is none"
    for key in wanted:
        if there.get(key) != wanted[key] and key == "versions":
            was, now = there.get(key) or {}, wanted[key]
            return ", ".join(
                f"{name} {was.get(name)} then, {now[name]} now" for name in now if was.get(name) != now[name]
            )
        if there.get(key) != wanted[key]:
            return words[key]
    return "its manifest has other keys"
