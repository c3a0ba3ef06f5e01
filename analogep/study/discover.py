"""Finding studies: beside the checkout, in an installed package, or by path."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import analogep
from analogep.errors import SpecError
from analogep.study.study import Study

PACKAGE = Path(analogep.__file__).parent
FOLDERS = (PACKAGE / "_studies", PACKAGE.parent / "studies")
"""Where studies are looked for: what a wheel carries, else `studies/` of the checkout, where there is no such copy."""


def available() -> dict[str, Path]:
    """Name -> script of every study there is; names that begin with an underscore are none."""
    for folder in FOLDERS:
        found = {path.stem: path for path in sorted(folder.glob("[!_]*.py"))}
        if found:
            return found
    return {}


def load(name: str | Path) -> Study:
    """A study by name, or by the path of its script.

    Raises
    ------
    SpecError
        If there is none (with the names that there are), or the script has no `STUDY`.

    Notes
    -----
    Helpers of a study `q4.py` are files `_q4_*.py` beside it; the script imports them as `from ._q4_x import ...`.
    """
    path = Path(name)
    if path.suffix != ".py":
        found = available()
        if str(name) not in found:
            there = ", ".join(found) or f"none in {' or '.join(map(str, FOLDERS))}"
            raise SpecError(
                f"no study {str(name)!r}; there are: {there}. A script elsewhere is named by its path, x.py"
            )
        path = found[str(name)]
    if not path.is_file():
        raise SpecError(f"{path}: no such script; studies known by name: {', '.join(available()) or 'none'}")
    # its folder as a package, so that `from ._x import ...` finds helpers beside the script
    package = f"analogep_studies_{hashlib.sha256(str(path.resolve().parent).encode()).hexdigest()[:8]}"
    parent = sys.modules.setdefault(package, ModuleType(package))
    parent.__path__ = [str(path.resolve().parent)]
    spec = importlib.util.spec_from_file_location(f"{package}.{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pydantic look their module up there
    spec.loader.exec_module(module)
    study = getattr(module, "STUDY", None)
    if not isinstance(study, Study):
        raise SpecError(f"{path}: a study ends with STUDY = Study(...), and this script does not")
    return replace(study, name=path.stem, path=path.resolve())
