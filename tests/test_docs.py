"""What the pages say can be run: commands have the options they use, decks and Python in them can be read."""

import ast
import re
import shlex
from pathlib import Path

import pytest
from matplotlib.mathtext import MathTextParser
from typer.main import get_command

from analogep.cli import app
from analogep.netlist.spice.read import read

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
VERBS = get_command(app).commands


def blocks(page: Path, language: str) -> list[str]:
    """Fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """Words after `analogep` of every command in the page's blocks."""
    lines = [line for language in ("sh", "text") for block in blocks(page, language) for line in block.splitlines()]
    found = [re.match(r"(?:\$ )?(?:\.venv/bin/)?analogep ((?:[a-z]+|--help).*)", line) for line in lines]
    return [shlex.split(match[1], comments=True) for match in found if match]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_have_their_options(page):
    for words in commands(page):
        if words[0].startswith("-") or "VERB" in words:
            continue
        verb = VERBS[words[0]]
        known = {option for parameter in verb.params for option in parameter.opts}
        assert {word for word in words if re.match(r"-{1,2}[a-z]", word)} <= known | {"--help"}, words
        for deck in (word for word in words if word.startswith("netlists/")):
            assert (ROOT / deck).exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_compiles(page):
    for block in blocks(page, "python"):
        compile(block, page.name, "exec")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_formulas_can_be_drawn(page):
    """Matplotlib, which draws them, knows a part of LaTeX only."""
    text = re.sub(r"^```(?!\{math).*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for formula in re.findall(r"\$\$(.+?)\$\$", text, re.DOTALL) + re.findall(r"(?<!\$)\$([^$\n]+)\$(?!\$)", text):
        MathTextParser("path").parse(f"${' '.join(formula.split())}$")


@pytest.mark.usefixtures("quick_compilation")
def test_the_python_of_the_readme_settles_at_a_stable_state(capsys):
    scope: dict = {}
    for block in blocks(ROOT / "README.md", "python"):
        exec(block, scope)
    settled, numbers = capsys.readouterr().out.splitlines()
    assert settled.startswith("True")
    assert ast.literal_eval(numbers.replace("nan", "None"))["spectral_abscissa"] < 0


def test_the_own_cell_is_read():
    file = read(ROOT / "docs" / "examples" / "squarer.cir")
    assert [analysis.spice().split()[0] for analysis in file.analyses] == [".dc", ".tran"]
    assert [measure.name for measure in file.measures] == ["at_10u", "settled"]
