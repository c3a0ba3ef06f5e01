"""Sphinx configuration: furo, MyST, and pages made from the code itself. Nothing here needs a network."""

from __future__ import annotations

import hashlib
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
HERE = Path(__file__).parent.resolve()
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE)]

import api_pages  # noqa: E402
import equations  # noqa: E402
import spec_tables  # noqa: E402
from sphinx.util.inspect import TypeAliasForwardRef  # noqa: E402

from analogep import __version__  # noqa: E402

project = "analogep"
author = "the analogep authors"
copyright = "the analogep authors, Apache-2.0"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build", "_figures/*.md", "Thumbs.db", ".DS_Store"]
myst_enable_extensions = ["dollarmath", "amsmath", "deflist", "colon_fence"]
myst_heading_anchors = 3
default_role = "code"

html_theme = "furo"
html_math_renderer = "drawn"
html_title = "analogep"
html_static_path = ["_static"]
html_css_files = ["analogep.css"]
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0072B2", "color-brand-content": "#0072B2"},
    "dark_css_variables": {"color-brand-primary": "#56B4E9", "color-brand-content": "#56B4E9"},
}

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True
autodoc_type_aliases = {name: name for name in ("Array", "Voltages", "Currents", "Parameters", "Weights", "Solve")}
autodoc_default_options = {"exclude-members": "model_config"}
TypeAliasForwardRef.__repr__ = lambda self: self.name  # inside `X | None` Sphinx writes out its own class instead
python_maximum_signature_line_length = 90
napoleon_google_docstring = True
napoleon_numpy_docstring = True
napoleon_use_ivar = True
napoleon_custom_sections = [("Reference", "References")]


DRAWING = ("figures.py", "cell_figures.py")


def _sources_digest() -> str:
    """Changes when the package or what draws the figures does."""
    digest = hashlib.sha256()
    files = [*(ROOT / "analogep").rglob("*.py"), *HERE.glob("*figures.py"), *(HERE / "examples").glob("*.*")]
    files += [*(ROOT / "netlists").glob("*.cir"), *(ROOT / "circuits").glob("*.*"), HERE / "cell_benches.py"]
    digest.update(str(shutil.which("ngspice")).encode())  # whose points are in the figures of the cells
    for path in sorted(files):
        digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()


def _make(folder: Path) -> None:
    """Draw the figures and run the examples, unless those of the same sources are there already."""
    stamp, digest = folder / ".digest", _sources_digest()
    examples = sorted((HERE / "examples").glob("*.py"))
    if stamp.exists() and stamp.read_text() == digest:
        return
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    # most of the time of these figures goes into compiling programs that run once
    hasty = {"cell_figures.py": {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}}
    drawing = {
        script: subprocess.Popen(
            [sys.executable, str(HERE / script), str(folder)], env=environment | hasty.get(script, {})
        )
        for script in DRAWING
    }
    try:
        for example in examples:
            done = subprocess.run([sys.executable, str(example)], env=environment, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"{example} failed:\n{done.stderr}")
            (folder / f"{example.stem}.txt").write_text(done.stdout, encoding="utf-8")
    finally:
        failed = [script for script, process in drawing.items() if process.wait()]
    if failed:
        raise RuntimeError(f"{', '.join(failed)} in docs/ failed; the output is above")
    stamp.write_text(digest)


_make(HERE / "_figures")
spec_tables.write(HERE / "_figures" / "spec.md")
api_pages.write(HERE / "api")
for _name in api_pages.modules():
    api_pages.unwrap_jitted(importlib.import_module(_name))


def setup(app):
    app.add_html_math_renderer("drawn", (equations.inline, None), (equations.block, None))
    app.connect("autodoc-process-docstring", api_pages.process, priority=400)  # before napoleon's 500
    app.connect("autodoc-process-docstring", api_pages.restore, priority=600)
    app.connect("autodoc-skip-member", api_pages.skip)
    app.connect("doctree-read", api_pages.qualify)
