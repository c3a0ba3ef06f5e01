"""PySpice's child process: what is missing, what is refused, what is not read, and a library that crashes."""

import sys

import pytest

from analogep.doctor import examine
from analogep.errors import ConvergenceError, MissingToolError, NetlistError
from analogep.simulate import pyspice

DECK = "* an error in the title\nV1 a 0 1\nR1 a 0 1k\n.op\n.end\n"


@pytest.fixture
def installed():
    from test_spice_backends import require_pyspice

    require_pyspice()


@pytest.mark.spice
def test_words_in_a_title_are_no_errors(installed):
    (plot,) = pyspice.run_deck(DECK)
    assert plot.name == "Operating Point"
    assert plot.data["i(v1)"] == pytest.approx(-1e-3)
    assert plot.title == "* an error in the title"


@pytest.mark.spice
def test_version_names_both(installed):
    assert "with the shared library of ngspice" in pyspice.version()
    found = {check.name: check for check in examine()}["PySpice"]
    assert (found.ok, found.detail, found.needed) == (True, pyspice.version(), False)


@pytest.mark.spice
def test_settings_of_the_user_are_not_read(installed, tmp_path, monkeypatch):
    (tmp_path / ".spiceinit").write_text("shell touch ran\nset temp=100\n")
    (tmp_path / "PySpice.py").write_text("raise SystemExit('imported from the current folder')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    pyspice.run_deck(DECK)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".spiceinit", "PySpice.py"]


@pytest.mark.spice
def test_nothing_is_left_behind_and_nothing_is_imported(installed, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    pyspice.run_deck(DECK)
    assert list(tmp_path.iterdir()) == []
    assert "PySpice" not in sys.modules


@pytest.mark.spice
def test_a_crash_of_the_library_is_an_error(installed, tmp_path, monkeypatch):
    """The child dies between loading the library and its answer."""
    child = tmp_path / "child.py"
    text = pyspice._CHILD.read_text(encoding="utf-8")
    child.write_text(text.replace("    arrays: dict", "    os.abort()\n    arrays: dict"), encoding="utf-8")
    monkeypatch.setattr(pyspice, "_CHILD", child)
    with pytest.raises(ConvergenceError, match="took its process down"):
        pyspice.run_deck(DECK)


@pytest.mark.spice
def test_timeout(installed):
    with pytest.raises(ConvergenceError, match=r"0\.3 s"):
        pyspice.run_deck(DECK.replace(".op", ".tran 1e-15 1 0 1e-15"), timeout=0.3)


@pytest.mark.spice
def test_a_library_that_is_none(installed, tmp_path, monkeypatch):
    library = tmp_path / "libngspice.so.0"
    library.write_text("nothing")
    monkeypatch.setenv("NGSPICE_LIBRARY_PATH", str(library))
    for call in (pyspice.version, lambda: pyspice.run_deck(DECK)):
        with pytest.raises(MissingToolError, match="PySpice"):
            call()


def test_commands_are_refused_before_anything_starts(monkeypatch):
    monkeypatch.setattr(pyspice, "run_alone", lambda *_: pytest.fail("a process was started"))
    with pytest.raises(NetlistError, match="line 2"):
        pyspice.run_deck("* t\n.control\nshell ls\n.endc\n.end\n")


def test_what_is_missing_says_how_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(pyspice, "_FOLDERS", (tmp_path,))
    monkeypatch.setattr(pyspice.ctypes.util, "find_library", lambda _: None)
    monkeypatch.delenv("NGSPICE_LIBRARY_PATH", raising=False)
    with pytest.raises(MissingToolError, match="apt install libngspice0"):
        pyspice.find_library()

    def absent(_):
        raise pyspice.PackageNotFoundError

    monkeypatch.setattr(pyspice, "package_version", absent)
    with pytest.raises(MissingToolError, match=r"analogep\[spice\]"):
        pyspice.run_deck(DECK)
    found = {check.name: check for check in examine()}["PySpice"]
    assert (found.ok, found.needed) == (False, False)


def test_the_library_is_found_without_its_development_link(monkeypatch, tmp_path):
    monkeypatch.delenv("NGSPICE_LIBRARY_PATH", raising=False)
    monkeypatch.setattr(pyspice, "_FOLDERS", (tmp_path,))
    (tmp_path / "libngspice.so.0.0.6").touch()
    (tmp_path / "libngspice.so.0").touch()
    assert pyspice.find_library() == str(tmp_path / "libngspice.so.0")
