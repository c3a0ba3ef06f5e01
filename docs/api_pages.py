"""One page for each public module of analogep, and docstrings in the form that Sphinx wants."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from docutils import nodes
from sphinx import addnodes

import analogep

ORDER = (
    *("spec", "netlist", "cells", "models", "compile", "simulate", "diagnostics", "learning", "ep", "training"),
    *("plot", "report", "demo", "verbs", "cli", "units", "errors"),
)
"""Parts of the package in the order of the reference; others follow by name."""


def modules() -> list[str]:
    """Dotted names of all public modules, parts in the order of ORDER."""
    found = [
        info.name
        for info in pkgutil.walk_packages(analogep.__path__, "analogep.")
        if not any(part.startswith("_") and part != "_types" for part in info.name.split("."))
    ]
    found = [name for name in found if importlib.import_module(name).__doc__]  # empty ones are left out
    place = {part: k for k, part in enumerate(ORDER)}
    return sorted(found, key=lambda name: (place.get(name.split(".")[1], len(place)), name))


def unwrap_jitted(module: ModuleType) -> None:
    """Put the plain functions in the place of jitted ones, which autodoc would take for data."""
    for holder in [module, *(c for _, c in inspect.getmembers(module, inspect.isclass))]:
        if not getattr(holder, "__module__", holder.__name__).startswith("analogep"):
            continue
        for name, value in list(vars(holder).items()):
            if "Pjit" in type(value).__name__ and hasattr(value, "__wrapped__"):
                setattr(holder, name, value.__wrapped__)


def write(folder: Path) -> None:
    """Write the pages into `folder`; files that are right already are left alone, stale ones are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {}
    names = modules()
    for name in names:
        module = importlib.import_module(name)
        pages[f"{name}.rst"] = _page(name, module, [n for n in names if n.rpartition(".")[0] == name])
    tops = [name for name in names if name.count(".") == 1]
    pages["index.rst"] = "\n".join(
        [
            *("API reference", "=============", ""),
            "Every public module, from the specification down. Names with a leading underscore are private, but "
            "for the array shapes of `netlist._types`.",
            *("", ".. list-table::", "   :widths: 30 70", ""),
            *(line for name in tops for line in (f"   * - :doc:`{name} <{name}>`", f"     - {_summary(name)}")),
            *("", ".. toctree::", "   :hidden:", "   :maxdepth: 2", ""),
            *(f"   {name}" for name in tops),
            "",
        ]
    )
    for file, text in pages.items():
        path = folder / file
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for path in folder.glob("*.rst"):
        if path.name not in pages:
            path.unlink()


def _summary(name: str) -> str:
    text = importlib.import_module(name).__doc__ or ""
    return safe(text.strip().split("\n\n")[0].replace("\n", " "))


def _page(name: str, module: ModuleType, children: list[str]) -> str:
    short = name.removeprefix("analogep.")
    lines = [short, "=" * len(short), "", f".. automodule:: {name}", "   :members:", "   :show-inheritance:", ""]
    exported = [
        (key, value)
        for key, value in vars(module).items()
        if not key.startswith("_") and str(getattr(value, "__module__", name)) != name
        and str(getattr(value, "__module__", "")).startswith(f"{name}.") and hasattr(module, "__path__")
    ]  # fmt: skip
    if exported:
        lines += ["Names that may be imported from here:", ""]
        for key, value in exported:
            role = "class" if inspect.isclass(value) else "func"
            lines.append(f"* :py:{role}:`~{value.__module__}.{key}`")
        lines.append("")
    if children:
        lines += [".. list-table::", "   :widths: 35 65", ""]
        for child in children:
            lines += [f"   * - :doc:`{child.removeprefix('analogep.')} <{child}>`", f"     - {_summary(child)}"]
        lines += ["", ".. toctree::", "   :hidden:", "", *(f"   {child}" for child in children), ""]
    return "\n".join(lines)


_KEPT = re.compile(r"(``.*?``|`[^`]*`|\*\*\w[^*\n]*\*\*|(?<![\w*])\*\w[^*\n]*\w\*(?![\w*]))", re.DOTALL)
_VALUES = ("attribute", "data", "property")
_kept: dict[str, list[str]] = {}
_UNDERLINE = re.compile(r"^-{3,}$")
_SECTIONS = ("Parameters", "Attributes", "Returns", "Raises", "Reference")
_ENTRY = re.compile(r"^(\*{0,2}[A-Za-z_][\w, *]*?) ?: (.*)$")


def safe(text: str) -> str:
    """Text in which formulas such as ||exp(t J)|| and v* are not taken for markup; code and emphasis stay."""
    parts = _KEPT.split(text)
    return "".join(part if k % 2 else re.sub(r"\||\*(?=\S)", r"\\\g<0>", part) for k, part in enumerate(parts))


def spaced(lines: list[str]) -> list[str]:
    """Lists with a blank line on either side, and indented formulas as literal blocks, up to the first section."""
    out: list[str] = []
    listed = literal = False
    for k, line in enumerate(lines):
        text, indent = line.strip(), len(line) - len(line.lstrip())
        before = out[-1].strip() if out else ""
        if text.endswith(":") and k + 1 < len(lines) and lines[k + 1].startswith("    "):
            return out + lines[k:]  # a section in the style of Google
        if not text:
            listed = False
        elif not indent:
            item = text.startswith(("- ", "* "))
            if before and item != listed:
                out.append("")
            listed, literal = item, False
        elif indent >= 4 and not before and not literal:
            out += ["::", ""]
            literal = True
        out.append(line.replace("\\|", "|").replace("\\*", "*") if literal else line)
    return out


def rewrite(lines: list[str]) -> list[str]:
    """A docstring with its numpy sections as field lists, in the one-line form `name : text` that analogep uses."""
    lines = spaced(safe("\n".join(lines)).split("\n"))
    out: list[str] = []
    at = 0
    while at < len(lines):
        title = lines[at].strip()
        if title in _SECTIONS and at + 1 < len(lines) and _UNDERLINE.match(lines[at + 1].strip()):
            end = at + 2
            while end < len(lines) and not (
                end + 1 < len(lines) and lines[end].strip() and _UNDERLINE.match(lines[end + 1].strip())
            ):
                end += 1
            out += ["", *_fields(title, lines[at + 2 : end]), ""]
            at = end
        elif lines[at] == "Returns:":  # the style of Google; napoleon would take the text before a colon for a type
            end = at + 1
            while end < len(lines) and (not lines[end].strip() or lines[end].startswith(" ")):
                end += 1
            out += ["", *_fields("Returns", lines[at + 1 : end]), ""]
            at = end
        else:
            out.append(lines[at])
            at += 1
    return out


def _fields(title: str, body: list[str]) -> list[str]:
    text = [line.rstrip() for line in body if line.strip()]
    if title == "Returns":
        return [":returns: " + " ".join(line.strip() for line in text)]
    if title == "Reference":
        return ["**Reference:** " + " ".join(line.strip() for line in text)]
    entries: list[tuple[str, list[str]]] = []
    for line in text:
        if line[0] != " " and title == "Raises":
            entries.append((line.strip(), []))
        elif line[0] != " " and (found := _ENTRY.match(line)):
            entries.append((found[1].strip(), [found[2]]))
        elif entries:
            entries[-1][1].append(line.strip())
    field = {"Parameters": "param", "Attributes": "ivar", "Raises": "raises"}[title]
    out = []
    for name, said in entries:
        for one in name.split(",") if field != "raises" else [name]:
            out.append(f":{field} {one.strip().lstrip('*')}: {' '.join(said)}")
    return out


def process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Handler of autodoc-process-docstring, before napoleon's."""
    lines[:] = rewrite(lines)
    if what in _VALUES:
        _kept[name] = list(lines)


def restore(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Handler after napoleon's, which takes what stands before a colon in an attribute's docstring for its type."""
    if name in _kept:
        lines[:] = [*_kept.pop(name), ""]


def qualify(app: Any, doctree: nodes.document) -> None:
    """Handler of doctree-read: a bare class name means what the module calls so; two modules may use one name."""
    for node in doctree.findall(addnodes.pending_xref):
        name, home = str(node.get("reftarget")), node.get("py:module")
        if node.get("refdomain") == "py" and home and name.isidentifier():
            found = getattr(importlib.import_module(home), name, None)
            if inspect.isclass(found) and found.__module__.startswith("analogep"):
                node["reftarget"] = f"{found.__module__}.{found.__qualname__}"


def skip(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Handler of autodoc-skip-member: fields of named tuples are said in their class's docstring."""
    if (getattr(obj, "__doc__", None) or "").startswith("Alias for field number"):
        return True
    return None
