"""The spec: defaults, resolution of the asymmetry dial, and one clear line for everything that is wrong."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from analogep.errors import SpecError
from analogep.spec import Model, Spec, load_spec, parse_spec


def refusal(*overrides: str, path: Path | None = None) -> str:
    with pytest.raises(SpecError) as caught:
        load_spec(path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_defaults_are_the_built_in_small_block():
    spec = load_spec(None, [])
    assert spec == Spec()
    assert (spec.model.tokens, spec.model.channels, spec.model.heads, spec.model.ffn) == (8, 16, 2, 32)
    assert (spec.model.attention, spec.model.asymmetry) == ("free", 1.0)
    assert (spec.compile.level, spec.training.level) == ("parasitic", "ideal")
    assert spec.technology.scale.seconds == pytest.approx(1e-9)


@pytest.mark.parametrize(
    ("overrides", "attention", "asymmetry"),
    [
        (["model.attention=free"], "free", 1.0),
        (["model.attention=energy"], "energy", 0.0),
        (["model.attention=mixed"], "mixed", 0.5),
        (["model.asymmetry=0.25"], "mixed", 0.25),
        (["model.asymmetry=0"], "mixed", 0.0),
        (["model.asymmetry=1.5"], "mixed", 1.5),
        (["model.attention=energy", "model.asymmetry=0"], "energy", 0.0),
        (["model.attention=free", "model.asymmetry=1"], "free", 1.0),
    ],
)
def test_attention_and_asymmetry_resolve_each_other(overrides, attention, asymmetry):
    model = load_spec(None, ["data.objective=last_token", *overrides]).model
    assert (model.attention, model.asymmetry) == (attention, asymmetry)


def test_none_counts_as_left_out():
    assert Model(attention=None, asymmetry=0.3) == Model(attention="mixed", asymmetry=0.3)
    assert Model(attention=None, asymmetry=None) == Model()


def test_a_spec_survives_being_dumped_and_read_again():
    spec = load_spec(None, ["model.asymmetry=0.5", "data.objective=masked", "data.text=corpus.txt"])
    assert parse_spec(spec.model_dump()) == spec
    assert parse_spec(spec.model_dump(mode="json")) == spec


def test_file_then_overrides_last_one_wins(tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text('seed = 3\n[model]\ntokens = 4\nchannels = 2\ndamping = [1, 2.5]\n[phases]\nsolver = "kvaerno3"\n')
    spec = load_spec(path, ["model.tokens=5", "model.tokens=6", "training.rate=1"])
    assert (spec.seed, spec.model.tokens, spec.model.damping) == (3, 6, [1, 2.5])
    assert (spec.phases.solver, spec.training.rate) == ("kvaerno3", 1.0)


def test_paths_in_a_file_are_relative_to_it_and_overrides_to_here(tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text('[data]\ntext = "corpus.txt"\n[model]\ncheckpoint = "/elsewhere/model.npz"\n')
    spec = load_spec(path, [])
    assert spec.data.text == tmp_path / "corpus.txt"
    assert spec.model.checkpoint == Path("/elsewhere/model.npz")
    assert load_spec(path, ["data.text=a #1.txt"]).data.text == Path("a #1.txt")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.tokens=0", "model.tokens = 0: must be greater than 0"),
        ("model.tokens=true", "model.tokens = True: must be a valid integer"),
        ("model.tokens=eight", "model.tokens = 'eight': must be a valid integer"),
        ("model.gain=inf", "model.gain = inf: must be a finite number"),
        ("model.activation=swish", "model.activation = 'swish': must be 'gelu', 'relu' or 'tanh'"),
        ("technology.farads=-1e-14", "technology.farads = -1e-14: must be greater than 0"),
        ("data.split=1.0", "data.split = 1.0: must be less than 1"),
        ("data.text=3", "data.text = 3: must be a path"),
        ("oracle.circuit=1", "oracle.circuit = 1: must be a valid boolean"),
        ("model=3", "model = 3: must be a table [model]"),
        ("seed=-1", "seed = -1: must be greater than or equal to 0"),
        ("model.heads=3", "model.heads = 3: must divide model.channels = 16"),
        ("model.damping=[1.0, 2.0]", "model.damping: lists 2 values, but model.channels = 16"),
    ],
)
def test_wrong_values_name_key_value_and_rule(override, message):
    assert refusal(override) == message


@pytest.mark.parametrize("damping", ["0", "-1", "nan", "[]", "[1, 0]", "true", "strong", "[[1]]"])
def test_damping_is_positive_alone_or_in_a_list(damping):
    assert "must be a number greater than 0, or a list of them" in refusal(f"model.damping={damping}")


@pytest.mark.parametrize(
    ("override", "suggestion"),
    [
        ("model.toknes=3", "model.toknes: unknown key; did you mean model.tokens?"),
        ("modle.tokens=3", "modle: unknown key; did you mean model?"),
        ("tokens=3", "tokens: unknown key; did you mean model.tokens?"),
        ("data.zzzz=3", "data.zzzz: unknown key; known keys: data.text, data.objective, data.batch, data.split"),
    ],
)
def test_unknown_keys_name_the_nearest(override, suggestion):
    assert refusal(override) == suggestion


@pytest.mark.parametrize("override", ["model.tokens", "=3", "model.=3", "model.tokens=", ""])
def test_malformed_overrides_are_refused(override):
    assert "must look like key=value" in refusal(override)


def test_an_override_below_a_value_is_refused():
    assert refusal("seed=1", "seed.deep=2") == "--set seed.deep=2: seed is not a table"


def test_an_override_defines_one_key_only():
    assert "must be a valid integer" in refusal("model.tokens=4\nvalue = 5")


def test_several_problems_are_counted():
    assert refusal("model.tokens=0", "model.ffn=0").endswith("(and 1 more)")


@pytest.mark.parametrize(("attention", "asymmetry"), [("free", 0.5), ("energy", 1)])
def test_attention_that_contradicts_the_dial_is_refused(attention, asymmetry):
    message = refusal(f"model.attention={attention}", f"model.asymmetry={asymmetry}", "data.objective=masked")
    assert message.startswith(f"model.asymmetry = {asymmetry:g}: attention '{attention}'")


@pytest.mark.parametrize("choice", ["model.asymmetry=0.9", "model.asymmetry=1.1", "model.attention=energy"])
def test_next_token_is_refused_where_tokens_feel_their_future(choice):
    message = refusal(choice)
    assert message.startswith("data.objective = 'next_token': refused")
    assert "reciprocity excludes causality" in message
    for objective in ("last_token", "masked"):
        assert load_spec(None, [choice, f"data.objective={objective}"]).data.objective == objective


def test_mixed_at_one_is_free_and_may_predict_every_token():
    assert load_spec(None, ["model.asymmetry=1"]).data.objective == "next_token"


def test_broken_toml_names_file_and_line(tmp_path):
    path = tmp_path / "broken.toml"
    path.write_text("[model]\ntokens = \n")
    message = refusal(path=path)
    assert str(path) in message
    assert "line 2" in message


def test_unreadable_files_are_refused(tmp_path):
    assert "cannot read the spec: No such file" in refusal(path=tmp_path / "none.toml")
    assert "cannot read the spec" in refusal(path=tmp_path)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"seed = 1 # \xff")
    assert "not a UTF-8 text file" in refusal(path=binary)


def test_tables_cannot_be_changed_after_validation():
    with pytest.raises(ValidationError, match="frozen"):
        Spec().model.tokens = 0


def test_reading_a_spec_does_not_import_jax():
    code = "import sys, analogep.spec; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
