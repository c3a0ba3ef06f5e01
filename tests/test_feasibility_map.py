"""The feasibility map: its points against the verdict of one spec, its figure, and its page in a browser."""

import json
import re
import shutil
import subprocess
from functools import cache
from html import unescape
from pathlib import Path

import jax
import numpy as np
import pytest
import xarray as xr

from analogep import verbs
from analogep.codesign import point
from analogep.codesign.assess import fitted_scale
from analogep.codesign.hardware import Hardware
from analogep.codesign.learning_step import LearningStep
from analogep.compile import compile_transformer
from analogep.errors import DataError, SpecError
from analogep.learning.phases import CircuitPhases
from analogep.plot.map import feasibility_map, save
from analogep.report import Report
from analogep.report.explorer import payload, scale
from analogep.report.feasibility import by_technology, write_map
from analogep.report.sweep import is_sweep, read_sweep, write_sweep
from analogep.spec import load_spec
from analogep.technology import preset
from analogep.training.problem import build
from analogep.training.shared import share
from analogep.verbs import feasibility

pytestmark = pytest.mark.usefixtures("quick_compilation")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DAMPING, ASYMMETRY, DEVICES = np.geomspace(0.25, 8, 6), np.linspace(0.1, 0.9, 5), ["reram", "pcm", "capacitor"]
AXES = ("model.damping", "model.asymmetry", "technology.device")


@cache
def dataset() -> xr.Dataset:
    """A map with a known edge, three points that did not settle and one that failed."""
    c, a, k = np.meshgrid(DAMPING, ASYMMETRY, np.arange(3), indexing="ij")
    margin = np.log(c) - 2 * a + k - 0.3
    status, error = np.full(c.shape, "done", object), np.full(c.shape, "", object)
    status[0, :, 0], error[0, :, 0] = "unconverged", "a solve did not converge"
    status[1, 0, 0], error[1, 0, 0] = "failed", 'SpecError: <b>weights</b> & "devices"'
    seen = {
        "margin": (margin, "1", {}),
        "binding": (np.where(a > 0.5, 0.0, 6.0), "1", {"flag_meanings": " ".join(point.LIMITS)}),
        "cosine": (1 / (1 + np.exp(-margin)), "1", {}),
        "settling_time": (1.23456789e-8 * np.exp(-margin), "s", {}),
        "spectral_abscissa": (-c / 3, "1/tau", {}),
        "peak_growth": (np.where(margin < -3, np.inf, 1 + a), "1", {}),
    }
    there = status == "done"
    variables = {
        name: (AXES, np.where(there, values, np.nan), {"units": unit, **more})
        for name, (values, unit, more) in seen.items()
    }
    variables |= {"status": (AXES, status.astype(str)), "error": (AXES, error.astype(str))}
    coordinates = {
        AXES[0]: (AXES[0], DAMPING, {"units": "g0"}), AXES[1]: (AXES[1], ASYMMETRY, {"units": "1"}), AXES[2]: DEVICES
    }  # fmt: skip
    attributes = {"title": "sweep over x", "measures": "m:f", "spec": "{}", "configuration_hash": "0", "commit": "c"}
    return xr.Dataset(variables, coordinates, attributes | {"versions": json.dumps({"analogep": "0.1.0"})})


@pytest.fixture
def file(tmp_path):
    """The map as the sweep writes it."""
    path = tmp_path / "sweep.nc"
    dataset().to_netcdf(path, engine="h5netcdf")
    return path


# A point

SMALL = ("model.tokens=3", "model.channels=4", "model.heads=2", "model.ffn=4", "data.objective=last_token",
         "feasibility.chips=2")  # fmt: skip
FIRST = ("model.asymmetry=0.3", "model.damping=0.8")
OTHER = ("model.asymmetry=0.7", "model.damping=2.0")


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    """spec(setting, ...): a small block over a text of few characters."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("abcde abc. " * 30, encoding="utf-8")
    return lambda *settings: load_spec(None, [*SMALL, f"data.text={path}", *settings])


@pytest.fixture(scope="module")
def points(spec):
    """A point, and another with other dials on two technologies, with the programs that were compiled before them."""
    first = point.measure(spec(*FIRST))
    programs = point.SharedStep.signals._cache_size(), point.SharedStep.angle._cache_size()
    others = {device: point.measure(spec(*OTHER, f"technology.device={device}")) for device in DEVICES[::2]}
    return first, others, programs


@pytest.mark.slow
def test_points_share_their_programs_whatever_their_dials_and_devices(points):
    first, others, programs = points
    assert (point.SharedStep.signals._cache_size(), point.SharedStep.angle._cache_size()) == programs
    cosines = [first["cosine"], *(found["cosine"] for found in others.values())]
    assert len(set(cosines)) == 3  # not one point's numbers for all
    assert all(0 < cosine < 1 for cosine in cosines)


@pytest.mark.slow
def test_the_same_circuit_in_other_units(points):
    """Conductances times k: the same voltages, 1/k times the time, and k times the power of what carries current."""
    reram, capacitor = points[1]["reram"], points[1]["capacitor"]
    k = capacitor["siemens"] / reram["siemens"]
    assert k == pytest.approx(10 / 39)  # ranges of 10 and 40 - 1 uS, of which weights take the same part
    for name in (*point.STABILITY, "loss", "nudge_to_noise", "peak_read_volts"):
        assert capacitor[name] == reram[name], name
    assert capacitor["settling_time"] == pytest.approx(reram["settling_time"] / k, rel=1e-12)
    assert capacitor["power"] < k * reram["power"]  # without the reram's 1 uS of gmin less than that


@pytest.mark.slow
def test_the_smallest_margin_binds(points, spec):
    for found in points[1].values():
        margins = {name.removeprefix("margin_"): value for name, value in found.items() if name.startswith("margin_")}
        assert found["margin"] == min(margins.values())
        assert margins[point.LIMITS[int(found["binding"])]] == found["margin"]
        assert found["feasible"] == (found["margin"] >= 0)
        assert margins["cosine"] == pytest.approx((found["cosine"] - 0.9) / 0.1)
        assert margins["settling_time"] == pytest.approx(1 - found["settling_time"] / 1e-7)
    assert set(point.measure.units) <= set(found)
    eased = point.measure(spec(*OTHER, "technology.device=capacitor", "feasibility.min_cosine=0.01"))
    wanted = 1 - (1 - points[1]["capacitor"]["cosine"]) / 0.99
    assert eased["margin_cosine"] == pytest.approx(wanted)


@pytest.mark.slow
def test_a_circuit_that_does_not_settle_has_no_margin(spec):
    found = point.measure(spec(*FIRST, "phases.horizon=0.01"))
    assert set(found) == {"residual", "converged"}
    assert not found["converged"]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("compile.level=ideal", "a map needs 'parasitic'"),
        ("feasibility.max_latency_per_token=1e-12", "contradicts the rest"),
        pytest.param("technology.siemens=1e-3", "does not fit a pair", marks=pytest.mark.slow),
    ],
)
def test_a_point_that_cannot_be_is_refused(spec, setting, words):
    with pytest.raises(SpecError, match=words):
        point.measure(spec(*FIRST, setting))


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
def test_a_step_is_that_of_the_error_budget(spec, device):
    """With all switches on, against the program that the verdict of one spec uses, at the point's own conductance."""
    given = spec(*OTHER, f"technology.device={device}")
    kind = preset(device).at(**given.technology.settings)
    hardware, problem = Hardware(device=kind, **given.feasibility.hardware), build(given)
    scale = fitted_scale(problem, hardware)
    found = point.learn(share(point.at_reference(given)), hardware, scale, 6.0)
    compiled = compile_transformer(
        problem.model, problem.weights, level="parasitic", scale=scale, epsilon=given.compile.epsilon
    )
    phases = CircuitPhases(compiled, problem.settle)
    step = LearningStep(phases, problem.weights, problem.batch(), hardware=hardware, horizon=6.0)
    wanted = step.evaluate(np.ones((2, len(step.names)), bool), jax.random.split(jax.random.key(given.seed), 2))
    np.testing.assert_allclose(found.angle, wanted.angle, rtol=1e-3)
    np.testing.assert_allclose(found.loss, wanted.loss, rtol=1e-5)


@pytest.mark.slow
def test_a_point_is_the_verdict_of_its_spec(spec, points):
    """Costs, stability and loss against the whole way at the point's own conductance, with programs of its own."""
    given, found = spec(*OTHER, "technology.device=capacitor"), points[1]["capacitor"]
    wanted = feasibility(given)
    for name in point.COUNTED:
        assert found[name] == pytest.approx(wanted.costs[name], rel=1e-4), name
    for name in point.STABILITY:
        assert found[name] == pytest.approx(wanted.stability[name], rel=1e-6, abs=1e-9), name
    assert found["cosine"] == pytest.approx(1 - wanted.budgets["angle"].all, abs=1e-3)
    assert found["loss_change"] == pytest.approx(wanted.budgets["loss"].total, abs=1e-4)
    assert point.LIMITS[int(found["binding"])] == wanted.verdict.binding.name


# The verb


def cheap(spec):
    """A measure in no time: more damping is better, and seed 1 fails."""
    if spec.seed == 1:
        raise DataError("no such thing")
    if spec.model.damping < 0.5:
        return {"residual": 1.0, "converged": False}
    margin = spec.model.damping - 1.5 - spec.model.asymmetry
    return {"margin": margin, "binding": 8.0, "cosine": 0.5, "converged": True}


cheap.units = {}
cheap.words = {"binding": point.LIMITS}


def test_the_verb_writes_dataset_figure_and_page(command_line, tmp_path, monkeypatch):
    monkeypatch.setattr(verbs, "POINT", "test_feasibility_map:cheap")
    options = ("--map", tmp_path / "out", "--axis", "model.damping=0.25,1,4", "--json")
    code, out, err = command_line("feasibility", *options)
    assert code == 0, err
    result = json.loads(out)
    assert result["axes"] == {"model.damping": 3, "model.asymmetry": 4, "technology.device": 3}
    assert result["verdict"] == "feasible"
    assert result["feasible"] == dict.fromkeys(DEVICES, 4)
    assert result["status"] == {"done": 24, "unconverged": 12}
    assert result["best"]["pcm"]["where"] == {"model.damping": 4.0, "model.asymmetry": 0.15}
    assert Path(result["figure"]).exists()
    assert 'class="explorer"' in Path(result["page"]).read_text(encoding="utf-8")
    with xr.open_dataset(result["path"], engine="h5netcdf") as data:
        assert data["binding"].attrs["flag_meanings"].split()[8] == "decay"
        assert json.loads(data.attrs["spec"])["data"] == {"objective": "last_token"}
    again = json.loads(command_line("feasibility", *options)[1])
    assert again["measured_now"] == 0


@pytest.mark.parametrize(
    ("axes", "code"),
    [(("model.damping=1,2",), 1), (("model.damping=0.1,0.2",), 3), (("model.damping=1,4", "seed=0,1"), 3)],
    ids=["nothing feasible", "nothing settles", "something fails"],
)
def test_the_exit_code_of_a_map(command_line, tmp_path, monkeypatch, axes, code):
    monkeypatch.setattr(verbs, "POINT", "test_feasibility_map:cheap")
    given = [part for axis in (*axes, "model.asymmetry=0.6,0.9") for part in ("--axis", axis)]
    found, out, err = command_line("feasibility", "--map", tmp_path / "out", *given, "--json")
    assert found == code, err
    assert Path(json.loads(out)["page"]).exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--axis", "seed=0,1"), "are for --map DIR"),
        (("--workers", "2"), "are for --map DIR"),
        (("--map", "out", "--plot", "x.png"), "leave out --plot"),
        (("--map", "out", "--axis", "model.dampin=1,2"), "did you mean model.damping?"),
        (("--map", "out", "--set", "data.objective=next_token"), "reciprocity excludes causality"),
    ],
)
def test_bad_input_is_refused_in_one_line(command_line, options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = command_line("feasibility", *options, "--json")
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


# The page


needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="NO MAP WAS SHOWN BY A BROWSER: chromium is not installed")

# what is said on the console, or goes wrong, is noted from the beginning on
LISTEN = """
<script>
window.said = [];
for (const kind of ["error", "warn"]) console[kind] = (...words) => window.said.push(words.join(" "));
window.addEventListener("error", (event) => window.said.push(event.message));
</script>
"""
# a visitor: chooses, moves by keys, clicks, and writes down what the page shows
VISIT = """
<script>
const root = document.querySelector(".explorer");
const shown = () => ({
  where: root.querySelector(".where").textContent,
  state: root.querySelector(".state").textContent,
  values: Object.fromEntries([...root.querySelectorAll("td[data-quantity]")].map((cell) =>
    [cell.dataset.quantity, [cell.textContent, cell.dataset.value]])),
  pinned: root.querySelector(".pin").getAttribute("aria-pressed"),
});
const cell = (column, row) => root.querySelector(`[data-column="${column}"][data-row="${row}"]`);
const focus = (column, row) => {  // a window without the keyboard moves the focus and tells no one
  cell(column, row).focus();
  cell(column, row).dispatchEvent(new FocusEvent("focus"));
};
const choose = (name, value) => {
  const select = root.querySelector(`select[data-choice="${name}"]`);
  select.value = [...select.options].find((option) => option.textContent === value).value;
  select.dispatchEvent(new Event("change"));
};
const press = (key) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
const seen = { start: shown() };
choose("technology.device", "pcm");
focus(3, 2);
seen.focused = shown();
seen.label = cell(3, 2).getAttribute("aria-label");
press("ArrowRight");
press("ArrowUp");
seen.moved = shown();
cell(1, 1).dispatchEvent(new MouseEvent("click", { bubbles: true }));
seen.clicked = shown();
cell(5, 4).dispatchEvent(new PointerEvent("pointerenter"));
seen.kept = shown();
press("Escape");
cell(5, 4).dispatchEvent(new PointerEvent("pointerenter"));
seen.left = shown();
choose("technology.device", "reram");
focus(0, 0);
seen.unsettled = shown();
focus(1, 0);
seen.failed = shown();
choose("quantity", "binding");
seen.legend = [...root.querySelectorAll(".legend .entry")].map((entry) => entry.textContent);
choose("quantity", "settling time");
seen.bar = [...root.querySelectorAll(".bar text")].map((text) => text.textContent);
seen.tabs = root.querySelectorAll('[role="gridcell"][tabindex="0"]').length;
seen.cells = root.querySelectorAll('[role="gridcell"]').length;
seen.width = [innerWidth, document.documentElement.scrollWidth];
seen.said = window.said;
document.documentElement.dataset.seen = JSON.stringify(seen);
</script>
"""


def browse(page: Path, width: int, *options: str) -> str:
    """Open a page in a window of that width; returns what the browser printed."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    flags += [f"--user-data-dir={page.parent.parent / 'profile'}", f"--window-size={width},1200", *options]
    command = [str(CHROMIUM), *flags, page.as_uri()]
    return subprocess.run(command, check=True, capture_output=True, timeout=90, text=True).stdout


@needs_browser
@pytest.mark.parametrize("width", [1300, 600])
def test_a_browser_reads_values_off_the_map(file, tmp_path, width):
    page = write_map(dataset(), file, tmp_path / "report")
    html = page.read_text(encoding="utf-8")
    assert not re.search(r'(src|href)="(https?:)?//', html)
    page.write_text(html.replace("<head>", f"<head>{LISTEN}").replace("</body>", f"{VISIT}</body>"), encoding="utf-8")
    found = re.search(r'data-seen="([^"]*)"', browse(page, width, "--dump-dom"))
    assert found is not None
    seen = json.loads(unescape(found[1]))
    assert seen["said"] == []
    assert seen["width"] == [width, width]  # nothing makes the page scroll sideways

    def agrees(shown, column, row, device):
        """All numbers of a point as they are in the dataset, to the last digit in the page's data."""
        at = dataset().sel({AXES[2]: device}).isel({AXES[0]: column, AXES[1]: row})
        for name in ("margin", "binding", "cosine", "settling_time", "spectral_abscissa"):
            assert float(shown["values"][name][1]) == float(at[name]), name
        assert device in shown["where"]
        text = shown["values"]["cosine"][0].replace("−", "-")
        assert float(text) == pytest.approx(float(at["cosine"]), rel=1e-5)
        number, unit = shown["values"]["settling_time"][0].split()
        assert float(number) * {"ps": 1e-12, "ns": 1e-9, "µs": 1e-6}[unit] == pytest.approx(
            float(at["settling_time"]), rel=1e-5
        )
        assert shown["values"]["binding"][0] == ("cosine" if ASYMMETRY[row] > 0.5 else "settling time")

    best = np.unravel_index(np.nanargmax(dataset()["margin"].values), dataset()["margin"].shape)
    agrees(seen["start"], best[0], best[1], DEVICES[best[2]])
    agrees(seen["focused"], 3, 2, "pcm")
    assert seen["label"].startswith("model.damping 2 g₀, model.asymmetry 0.5: margin ")
    agrees(seen["moved"], 4, 3, "pcm")
    agrees(seen["clicked"], 1, 1, "pcm")
    agrees(seen["kept"], 1, 1, "pcm")  # pinned: pointing elsewhere changes nothing
    agrees(seen["left"], 5, 4, "pcm")
    assert [seen[name]["pinned"] for name in ("moved", "clicked", "kept", "left")] == ["false", "true", "true", "false"]
    assert seen["unsettled"]["state"] == "did not settle: a solve did not converge"
    assert seen["failed"]["state"] == 'failed: SpecError: <b>weights</b> & "devices"'
    assert seen["unsettled"]["values"]["margin"] == ["–", ""]
    assert seen["legend"] == ["cosine", "settling time", "did not settle", "failed", "edge of the feasible region"]
    assert seen["bar"][0].endswith("s")
    assert (seen["tabs"], seen["cells"]) == (1, 30)


@needs_browser
def test_a_page_of_any_sweep_has_as_many_selectors_as_it_needs(tmp_path):
    """Four axes, two of them words, no margin: two selectors, and no edge."""
    dims = ("seed", "model.heads", "compile.level", "device")
    rng = np.random.default_rng(0)
    values = rng.uniform(1, 2, (3, 4, 2, 2))
    data = xr.Dataset(
        {"alpha": (dims, values), "status": (dims, np.full(values.shape, "done"))},
        {"seed": [0, 1, 2], "model.heads": [1, 2, 4, 8], "compile.level": ["ideal", "parasitic"], "device": ["a", "b"]},
    )
    report = Report("A sweep")
    report.section("Map").explorer(payload(data), "Alpha.")
    page = report.write(tmp_path / "out")
    script = """<script>
    const root = document.querySelector(".explorer");
    const selects = [...root.querySelectorAll("select")];
    selects[1].value = 1; selects[1].dispatchEvent(new Event("change"));
    root.querySelector('[data-column="2"][data-row="3"]').dispatchEvent(new FocusEvent("focus"));
    document.documentElement.dataset.seen = JSON.stringify({
      said: window.said,
      names: selects.map((select) => select.dataset.choice),
      value: root.querySelector('td[data-quantity="alpha"]').dataset.value,
      edges: root.querySelectorAll("path.edge").length,
    });
    </script>"""
    html = page.read_text(encoding="utf-8").replace("<head>", f"<head>{LISTEN}").replace("</body>", f"{script}</body>")
    page.write_text(html, encoding="utf-8")
    found = re.search(r'data-seen="([^"]*)"', browse(page, 900, "--dump-dom"))
    assert found is not None
    seen = json.loads(unescape(found[1]))
    assert seen == {"said": [], "names": ["quantity", "compile.level", "device"], "edges": 0,
                    "value": str(values[2, 3, 1, 0])}  # fmt: skip


def test_the_page_holds_every_number(file, tmp_path):
    page = write_map(dataset(), file, tmp_path / "report", command="analogep feasibility --map out")
    html = page.read_text(encoding="utf-8")
    assert "<b>weights" not in html
    text = re.search(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)
    assert text is not None
    data = json.loads(text[1], parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert (data["across"], data["up"]) == (0, 1)
    for quantity in data["quantities"]:
        wanted = dataset()[quantity["name"]].values.ravel()
        got = [np.nan if value is None else float(value) for value in quantity["values"]]
        np.testing.assert_array_equal(got, wanted)
    numbers = json.loads((page.parent / "numbers.json").read_text(encoding="utf-8"))
    rows = {row["technology"]: row for row in numbers["tables"]["feasible"]["rows"]}
    for name in DEVICES:
        margin = dataset()["margin"].sel({AXES[2]: name}).values
        assert rows[name]["feasible"] == np.sum(margin >= 0)
        assert rows[name]["best margin"] == np.nanmax(margin)
    assert {"sweep.nc", "map.png", "index.html"} <= {path.name for path in page.parent.iterdir()}


@pytest.mark.parametrize(
    ("values", "margin", "kind", "ends"),
    [
        ([-3.0, 0.5, np.nan], True, "diverging", (-1, 1)),
        ([-3.0, 0.5, np.inf], False, "diverging", (-3, 3)),
        ([1.0, 50.0], False, "linear", (1, 50)),
        ([1.0, 500.0], False, "log", (1, 500)),
        ([-2.0, -1.0], False, "linear", (-2, -1)),
        ([4.0, 4.0], False, "linear", (2, 6)),
        ([np.nan], False, "linear", (0, 1)),
    ],
)
def test_scales_follow_the_numbers(values, margin, kind, ends):
    found = scale(np.array(values), margin=margin)
    assert (found["kind"], found["low"], found["high"]) == (kind, *ends)


def test_a_sweep_over_one_axis_has_curves(tmp_path):
    line = dataset().isel({AXES[1]: 0, AXES[2]: 1}, drop=True)
    path = tmp_path / "sweep.nc"
    line.to_netcdf(path, engine="h5netcdf")
    page = write_sweep(read_sweep(path), path, tmp_path / "out")
    names = {file.name for file in page.parent.iterdir()}
    assert {"cosine.png", "settling-time.png", "sweep.nc"} <= names
    assert "<script" not in page.read_text(encoding="utf-8")
    with pytest.raises(DataError, match="two axes or more"):
        payload(line)


def test_the_verb_report_takes_any_sweep(command_line, file, tmp_path):
    code, out, err = command_line("report", file, "-o", tmp_path / "page", "--json")
    assert code == 0, err
    html = Path(json.loads(out)["report"]).read_text(encoding="utf-8")
    assert 'class="explorer"' in html
    assert (tmp_path / "page" / "sweep.nc").exists()
    assert is_sweep(file)
    torn = tmp_path / "torn.nc"
    torn.write_bytes(file.read_bytes()[:100])
    code, _, err = command_line("report", torn, "-o", tmp_path / "other")
    assert code == 2
    assert "cannot be read as netCDF" in err


# The figure


def test_the_figure_shows_margins_states_and_the_edge(tmp_path):
    figure = feasibility_map(dataset())
    axes = [ax for ax in figure.axes if ax.images]
    assert [ax.get_title(loc="left").split(":")[0] for ax in axes] == DEVICES
    for ax, name in zip(axes, DEVICES, strict=True):
        margin = dataset()["margin"].sel({AXES[2]: name}).values.T
        drawn = np.ma.filled(ax.images[0].get_array(), np.nan)
        np.testing.assert_allclose(drawn, margin)
        assert f"{np.sum(margin >= 0)} of 30 feasible" in ax.get_title(loc="left")
        assert ax.get_xlabel() == "model.damping (g0)"
    # the margin is linear in the logarithm of damping and in asymmetry, so its zero line is known in cells
    edge = np.vstack([path.vertices for path in axes[1].collections[0].get_paths()])
    c = np.exp(np.interp(edge[:, 0], range(6), np.log(DAMPING)))
    a = np.interp(edge[:, 1], range(5), ASYMMETRY)
    np.testing.assert_allclose(np.log(c) - 2 * a + 0.7, 0, atol=1e-9)
    hatched = [patch.get_hatch() for patch in axes[0].patches]
    assert (hatched.count("//"), hatched.count("xx")) == (5, 1)
    assert {text.get_text() for text in axes[1].texts} >= {"cosine", "settling\ntime"}
    save(dataset(), tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(DataError, match="no margins"):
        feasibility_map(dataset().drop_vars("margin"))
    with pytest.raises(DataError, match="two or three axes"):
        feasibility_map(dataset().isel({AXES[0]: 0, AXES[1]: 0}))


def test_the_best_point_of_each_technology():
    found = by_technology(dataset())
    assert found["capacitor"]["where"] == {AXES[0]: 8.0, AXES[1]: pytest.approx(0.1)}
    assert found["capacitor"]["margin"] == pytest.approx(np.log(8) - 0.2 + 2 - 0.3)
    assert found["capacitor"]["binding"] == "settling_time"
    assert [found[name]["settled"] for name in DEVICES] == [24, 30, 30]
    assert list(by_technology(dataset().isel({AXES[2]: 0}, drop=True))) == ["all"]
