"""Specs from TOML and from `--set key=value`; what is wrong becomes one line."""

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from analogep.errors import SpecError
from analogep.spec.tables import Spec, Table

_PATH_KEYS = (("model", "checkpoint"), ("data", "text"))


def load_spec(path: Path | None = None, overrides: Sequence[str] = ()) -> Spec:
    """Read a spec from TOML and apply overrides.

    Args:
        path: TOML file; None for the built-in defaults. Relative paths inside it are taken from its own folder.
        overrides: `key=value` or `table.key=value`; the value is TOML, or else a plain string. Later ones win.

    Returns:
        The validated spec, with `model.attention` and `model.asymmetry` resolved.

    Raises:
        SpecError: one line that names the key (or file and line) and what is wrong with it.
    """
    return parse_spec(read_tables(path, overrides))


def read_tables(path: Path | None = None, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The tables that `load_spec` validates, in which what is left out is not filled in yet.

    A sweep turns its knobs here, where `model.attention` can still follow from `model.asymmetry`.
    """
    tables = {} if path is None else _read_toml(Path(path))
    for override in overrides:
        apply_override(tables, override)
    return tables


def parse_spec(tables: Mapping[str, Any]) -> Spec:
    """Validate nested tables as a spec; raises SpecError with one line for the first thing that is wrong."""
    try:
        return Spec.model_validate(tables)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise SpecError(_explain(problems[0]) + more) from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{path}: not valid TOML: {error}") from None
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: not a UTF-8 text file (byte {error.start})") from None
    except OSError as error:
        raise SpecError(f"{path}: cannot read the spec: {error.strerror}") from None
    for table, key in _PATH_KEYS:
        if isinstance(tables.get(table), dict) and isinstance(value := tables[table].get(key), str):
            tables[table][key] = str(path.parent / Path(value).expanduser())
    return tables


def apply_override(tables: dict[str, Any], override: str) -> None:
    """Set one `key=value` or `table.key=value` in nested tables; the value is TOML, or else a plain string."""
    key, equals, text = (part.strip() for part in override.partition("="))
    if not equals or not text or not all(key.split(".")):
        raise SpecError(f"--set {override}: must look like key=value or table.key=value")
    set_key(tables, key, toml_value(text), what=f"--set {override}")


def set_key(tables: dict[str, Any], key: str, value: Any, *, what: str) -> None:
    """Set `table.key` in nested tables, in place; `what` begins the SpecError where a part of it is no table."""
    names = key.split(".")
    if tuple(names) in _PATH_KEYS and isinstance(value, str):
        value = str(Path(value).expanduser())
    table = tables
    for depth, name in enumerate(names[:-1], start=1):
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise SpecError(f"{what}: {'.'.join(names[:depth])} is not a table")
    table[names[-1]] = value


def toml_value(text: str) -> Any:
    """A value as TOML reads it, or else the plain text."""
    if "\n" in text:  # would let one value define further keys
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _explain(problem: ErrorDetails) -> str:
    """One line for one pydantic error: the key, the value and what was expected."""
    names = [str(part) for part in problem["loc"]]
    key = ".".join(names)
    match problem["type"]:
        case "rule":
            return problem["msg"]
        case "extra_forbidden":
            return f"{key}: unknown key; {_suggest(names)}"
        case "model_type":
            expected = f"must be a table [{key}]" if key else "must be a table"
        case "path_type":
            expected = "must be a path"
        case "value_error":
            expected = problem["msg"].removeprefix("Value error, ")
        case _:
            expected = problem["msg"].replace("Input should be", "must be").replace("Input is", "is")
    value = repr(problem["input"])
    return f"{key} = {value if len(value) <= 60 else value[:57] + '...'}: {expected}"


def _suggest(names: Sequence[str]) -> str:
    """The nearest known key: in the same table first, then anywhere, else the list of keys of that table."""
    known = {table: field.annotation for table, field in Spec.model_fields.items()}
    tables = {name: kind for name, kind in known.items() if isinstance(kind, type) and issubclass(kind, Table)}
    parent, leaf = ".".join(names[:-1]), names[-1]
    siblings = list(tables[parent].model_fields) if parent in tables else list(known)
    prefix = f"{parent}." if parent else ""
    if near := difflib.get_close_matches(leaf, siblings, n=1):
        return f"did you mean {prefix}{near[0]}?"
    everywhere = {key: f"{table}.{key}" for table, kind in tables.items() for key in kind.model_fields}
    if near := difflib.get_close_matches(leaf, everywhere, n=1):
        return f"did you mean {everywhere[near[0]]}?"
    return f"known keys: {', '.join(prefix + sibling for sibling in siblings)}"
