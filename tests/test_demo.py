"""The demo, small: it ends in 0 and leaves a whole report."""

import json
import math
import re
import sys

import pytest

from analogep.cli import main
from analogep.demo.page import _gradient_card
from analogep.ep.compare import Row
from analogep.ep.fidelity import Fidelity

SMALL = {
    "model.tokens": 4, "model.channels": 8, "model.heads": 2, "model.ffn": 12,
    "training.steps": 4, "training.batch": 2, "oracle.steps": 60,
}  # fmt: skip


@pytest.fixture(scope="module")
def report(tmp_path_factory, quick_compilation):
    """Folder of the report, and the JSON object of the run."""
    folder = tmp_path_factory.mktemp("demo")
    text = folder / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog. " * 20, encoding="utf-8")
    sets = [part for key, value in {**SMALL, "data.text": text}.items() for part in ("--set", f"{key}={value}")]
    with pytest.MonkeyPatch.context() as patch, (folder / "stdout").open("w+", encoding="utf-8") as stdout:
        patch.setattr(sys, "argv", ["analogep", "demo", *sets, "-o", str(folder / "report"), "--json"])
        patch.setattr(sys, "stdout", stdout)
        with pytest.raises(SystemExit) as stopped:
            main()
        stdout.seek(0)
        assert stopped.value.code == 0
        return folder / "report", json.load(stdout)


def test_the_report_is_whole(report):
    folder, _ = report
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert page.rstrip().endswith("</html>")
    links = {link for link in re.findall(r'(?:src|href)="([^"#:]+)"', page)}
    assert len([link for link in links if link.endswith((".svg", ".png"))]) >= 5
    for link in links:
        assert (folder / link).stat().st_size > 0, link
    assert not list(folder.rglob("*.partial"))
    assert not re.search(r'src="https?://', page)  # opens without a network


def test_its_numbers(report):
    folder, result = report
    numbers = json.loads((folder / "numbers.json").read_text(encoding="utf-8"))
    assert isinstance(numbers, dict)
    assert numbers
    assert result.keys() >= {"versions", "seed", "wall_seconds", "report"}
    assert result["report"] == str(folder / "index.html")
    assert result["twin_cosine"] >= 0.9999
    assert result["asym_ep_cosine"] >= 0.9999
    assert result["trained_twin_cosine"] >= 0.9999
    assert result["residual"] < 1e-10
    assert all(math.isfinite(result[name]) for name in ("loss_before", "loss_local", "loss_bptt"))
    assert result["loss_local"] < result["loss_before"]


@pytest.mark.spice
def test_it_agrees_with_ngspice(report):
    _, result = report
    assert result["spice_settled_error"] <= 1e-6
    assert result["spice_transient_error"] <= 1e-4


@pytest.mark.parametrize(
    ("error", "settled", "verdict"), [(1e-8, True, "good"), (0.5, True, "bad"), (1e-8, False, "bad")]
)
def test_a_gradient_card_judges_by_its_numbers(error, settled, verdict):
    row = Row({}, Fidelity(1.0, error, 1.0), {}, True, 0.0, settled)
    assert _gradient_card("gradient", row).verdict == verdict
