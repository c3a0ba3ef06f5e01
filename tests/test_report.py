"""Reports: written all at once or not at all, escaped, complete, and rendered by a browser."""

import json
import math
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from analogep.errors import DataError
from analogep.plot.stability import growth_curve
from analogep.report import Card, Cell, Report
from analogep.report.folder import MARKER
from analogep.report.text import markup, shown, slug

N, S = "\N{NARROW NO-BREAK SPACE}", "\N{NO-BREAK SPACE}"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def sample(title: str = "A report") -> Report:
    report = Report(title, "of a `test`", "Some *lead*.", seed=3, wall_seconds=1.25, command="analogep demo")
    section = report.section("Numbers")
    section.cards(Card("cosine", 1 - 1e-9, verdict="good"), Card("loss", float("nan"), "nats", "it **diverged**"))
    section.table(
        [{"name": "twin", "error": Cell(1e-11, "good")}, {"name": "plain", "error": Cell(0.8, "bad")}],
        units={"error": "V"},
        caption="Errors.",
        name="errors",
    )
    section = report.section("Curves").paragraph("One.\n\nTwo.")
    section.figure(growth_curve([0.1, 1.0], [1.1, 0.5]), "Growth.", alt="a curve").code("analogep demo <x>")
    return report


class Page(HTMLParser):
    """Tags, and the addresses that they load."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)
        values = dict(attrs)
        if tag == "img":
            self.images.append(values)
        self.loads += [v for k, v in attrs if v and (k == "src" or (k == "href" and tag == "link"))]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_report_is_complete(tmp_path: Path) -> None:
    report = sample()
    report.attach("deck.cir", "* deck\n", "the deck")
    page = report.write(tmp_path / "out")
    assert page == tmp_path / "out" / "index.html"
    assert {p.name for p in page.parent.iterdir()} == {"index.html", "numbers.json", "growth.png", "deck.cir", MARKER}
    html = page.read_text(encoding="utf-8")
    parsed = Page(html)
    assert not parsed.open
    assert "script" not in parsed.tags
    assert parsed.loads == ["data:,", "growth.png"]
    assert "url(" not in html
    assert "@import" not in html
    image = parsed.images[0]
    assert image["alt"] == "a curve"
    data = (page.parent / "growth.png").read_bytes()
    assert int.from_bytes(data[16:20]) // 2 == int(image["width"] or 0) == 680  # 6.8 inches at 100 pixels, twice
    for expected in ("<em>lead</em>", "seed", "1.2 s", "numpy", "analogep demo &lt;x&gt;", "Figure 1.", "Table 1."):
        assert expected in html
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html


def test_numbers(tmp_path: Path) -> None:
    sample().write(tmp_path / "out")
    text = (tmp_path / "out" / "numbers.json").read_text(encoding="utf-8")
    numbers = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert numbers["tables"]["errors"]["rows"][1] == {"name": "plain", "error": 0.8}
    assert numbers["tables"]["errors"]["units"] == {"error": "V"}
    assert numbers["tables"]["errors"]["bad"] == [[1, "error"]]
    assert numbers["cards"][1] == {"label": "loss", "value": "NaN", "unit": "nats", "verdict": "bad"}
    assert (numbers["seed"], numbers["wall_seconds"]) == (3, 1.25)
    assert "jax" in numbers["versions"]


def test_text_is_escaped(tmp_path: Path) -> None:
    evil = "<script>alert('x')</script> & \"q\""
    report = Report(evil, evil, evil, versions={evil: evil}, command=evil)
    section = report.section(evil).paragraph(evil).code(evil, evil)
    section.cards(Card(evil, evil, evil, evil)).table([{evil: evil}], units={evil: evil}, caption=evil)
    section.figure(Figure(figsize=(1, 1)), evil, alt=evil)
    report.attach("a.txt", evil, evil)
    html = report.write(tmp_path / "out").read_text(encoding="utf-8")
    assert "<script" not in html
    assert Page(html).images[0]["alt"] == evil


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("a `b*c*` **d** *e*", "a <code>b*c*</code> <strong>d</strong> <em>e</em>"),
        ("2*3*4 and x * y * z", "2*3*4 and x * y * z"),
        ("[docs](https://example.org/a_b)", '<a href="https://example.org/a_b">docs</a>'),
        ("[bad](javascript:alert(1))", "[bad](javascript:alert(1))"),
        ('[q](https://e.org/"onload="x)', '<a href="https://e.org/&#34;onload=&#34;x">q</a>'),
        ("[**b**](#there)", '<a href="#there"><strong>b</strong></a>'),
        ("`<i>` \0" + "0\0", "<code>&lt;i&gt;</code> 0"),
    ],
)
def test_markup(text: str, html: str) -> None:
    assert markup(text) == html


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.12345, "0.1235"), (-2.5e-7, f"−2.50{N}×{N}10⁻⁷"), (0.0, "0"),
        (1e-9, "10⁻⁹"), (1.0001e-9, f"1.00{N}×{N}10⁻⁹"),
        (1 - 3e-9, f"1{S}−{S}3.0{N}×{N}10⁻⁹"), (1.0, "1"),
        (18432, f"18{N}432"), (-5, "−5"), (True, "yes"), (None, "–"), (float("inf"), "∞"),
        (math.nan, "not a number"), (np.float64(0.5), "0.5"), (np.bool_(False), "no"), ("word", "word"),
    ],
)  # fmt: skip
def test_numbers_as_text(value: object, text: str) -> None:
    assert shown(value) == text


def test_names_are_unique_and_plain(tmp_path: Path) -> None:
    assert slug("Ünïcode & ‖norm‖!") == "unicode-norm"
    assert slug("τ") == "item"
    report = Report("twice")
    for _ in range(2):
        section = report.section("Same").table([{"a": 1}])
        section.figure(Figure(figsize=(1, 1)), "Same figure", alt="empty")
    report.write(tmp_path / "out")
    assert (tmp_path / "out" / "same-figure-2.png").exists()
    assert set(report.numbers()["tables"]) == {"same", "same-2"}
    html = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert len(re.findall(r'id="same(?:-2)?"', html)) == 2
    assert "Figure 2." in html


def test_bad_content_is_refused() -> None:
    section = Report("bad").section("x")
    with pytest.raises(DataError, match="needs columns"):
        section.table([])
    with pytest.raises(DataError, match="3 cells for 2 columns"):
        section.table([[1, 2, 3]], columns=["a", "b"])
    with pytest.raises(DataError, match="no column 'volts'"):
        section.table([{"a": 1}], units={"volts": "V"})
    with pytest.raises(DataError, match="alt text"):
        section.figure(Figure(), "caption", alt=" ")
    for name in ("../up.txt", "index.html", MARKER, "a/b", ""):
        with pytest.raises(DataError, match="cannot name a file"):
            Report("bad").attach(name, "text")
    section.table([], columns=["a"])  # an empty table is one


def test_a_report_replaces_an_earlier_one(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "out"
    sample("first").write(folder)
    Report("second").write(folder)
    assert {p.name for p in folder.iterdir()} == {"index.html", "numbers.json", MARKER}
    assert "second" in (folder / "index.html").read_text(encoding="utf-8")
    assert [p.name for p in folder.parent.iterdir()] == ["out"]
    assert folder.stat().st_mode & 0o777 == (tmp_path / "deep").stat().st_mode & 0o777


@pytest.mark.parametrize("where", ["figure", "rename"])
def test_failure_midway_leaves_the_earlier_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    folder = tmp_path / "out"
    sample("first").write(folder)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    second = sample("second")
    if where == "figure":
        broken = Figure(figsize=(1, 1))
        monkeypatch.setattr(broken, "savefig", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("no ink")))
        second.section("last").figure(broken, "broken", alt="broken")
        with pytest.raises(RuntimeError, match="no ink"):
            second.write(folder)
    else:
        rename = Path.rename

        def fail(self: Path, target: Path) -> Path:
            if ".new-" in self.name:
                raise OSError(28, "No space left on device")
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", fail)
        with pytest.raises(DataError, match="No space left on device"):
            second.write(folder)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_what_is_not_a_report_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match="is a file"):
        sample().write(tmp_path / "file")
    with pytest.raises(DataError, match="cannot write the report"):
        sample().write(tmp_path / "file" / "below")
    folder = tmp_path / "thesis"
    (folder / "chapter").mkdir(parents=True)
    with pytest.raises(DataError, match="not an analogep report"):
        sample().write(folder)
    (folder / MARKER).write_text("not json")
    with pytest.raises(DataError, match="not an analogep report"):
        sample().write(folder)
    report = tmp_path / "out"
    report.mkdir()
    sample().write(report)  # an empty folder will do
    (report / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match=r"holds 'notes\.txt', which the report did not write"):
        sample().write(report)
    assert (report / "notes.txt").read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "out", "thesis"]


def test_a_link_to_a_report_stays_a_link(tmp_path: Path) -> None:
    sample("first").write(tmp_path / "real")
    (tmp_path / "link").symlink_to("real")
    sample("second").write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert "second" in (tmp_path / "real" / "index.html").read_text(encoding="utf-8")


needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="NO PAGE WAS SHOWN BY A BROWSER: chromium is not installed")


def browse(page: Path, width: int, *options: str) -> str:
    """Open a page in a window of that width; returns what the browser printed."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    flags += [f"--user-data-dir={page.parent.parent / 'profile'}", f"--window-size={width},1600", *options]
    command = [str(CHROMIUM), *flags, page.as_uri()]
    return subprocess.run(command, check=True, capture_output=True, timeout=90, text=True).stdout


MEASURE = """
<script>
const side = (element) => element.getBoundingClientRect();
const boxes = [...document.querySelectorAll(".scroll")].map((box) => {
  box.scrollLeft = 1e6;
  const [cells, at] = [box.querySelector("tbody tr").cells, side(box)];
  return {
    scrolls: box.scrollWidth > box.clientWidth,
    last: side(cells[cells.length - 1]).right - at.right,
    first: side(cells[0]).left - at.left,
  };
});
const captions = [...document.querySelectorAll("figcaption, caption")].map((caption) => side(caption).right);
const whole = document.documentElement;
whole.dataset.seen = JSON.stringify({ window: innerWidth, page: whole.scrollWidth, captions, boxes });
</script>
"""


@needs_browser
@pytest.mark.parametrize("width", [1300, 600])
def test_wide_tables_scroll_in_a_box_of_their_own(tmp_path: Path, width: int) -> None:
    report = Report("a wide report", command="analogep study q3 " + 40 * "--set a.long.key=value ")
    wide = {"system": "network, rho 10, margin 0.05"} | {f"ngspice, mismatched {k}": 1.234e-16 for k in range(20)}
    section = report.section("Numbers").table([wide, wide], caption="A caption of a few sentences. " * 8, name="wide")
    section.table([{"key": "lists", "value": "[0.01, 0.1, 1.0], " * 9, "true": True}], caption="narrow").code("x" * 300)
    page = report.write(tmp_path / "out")
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", MEASURE + "</body>"), encoding="utf-8")
    found = re.search(r'data-seen="([^"]*)"', browse(page, width, "--dump-dom"))
    assert found is not None
    seen = json.loads(unescape(found[1]))
    assert seen["window"] == width
    assert seen["page"] <= width  # nothing makes the page itself scroll sideways
    assert len(seen["captions"]) == 2
    assert max(seen["captions"]) <= width
    first, second = seen["boxes"]
    assert (first["scrolls"], second["scrolls"]) == (True, False)
    assert first["last"] == pytest.approx(0, abs=1)  # the last column can be reached ...
    assert first["first"] == pytest.approx(0, abs=1)  # ... with the row's name still in sight


@needs_browser
@pytest.mark.parametrize("width", [1200, 500])
def test_a_browser_shows_it(tmp_path: Path, width: int) -> None:
    page = sample().write(tmp_path / "out")
    picture = tmp_path / "page.png"
    browse(page, width, f"--screenshot={picture}")
    data = picture.read_bytes()
    assert int.from_bytes(data[16:20]) == width
    from matplotlib.image import imread

    pixels = imread(picture)[..., :3]
    inked = np.any(pixels < 0.6, axis=2)
    assert inked[: pixels.shape[0] // 4].any()  # the title
    assert 0.005 < inked.mean() < 0.5
    assert not inked[:, -8:].any()  # nothing runs off the page
