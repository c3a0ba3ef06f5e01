"""Files that are either whole or not there."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from analogep.errors import DataError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path in the folder of `path`; what is written there takes its place only if nothing was raised.

    Raises
    ------
    DataError
        If the file cannot be written.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise DataError(f"{path}: cannot write the file: {error.strerror or error}") from None
    finally:
        partial.unlink(missing_ok=True)
