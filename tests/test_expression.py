"""B-source expressions: grammar and values against Python's math, hostile text, and agreement with ngspice."""

import math
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analogep.errors import NetlistError
from analogep.netlist.expression import FUNCTIONS, literal
from analogep.netlist.parser import parse
from analogep.simulate.ngspice import run_deck

VOLTAGES = {"a": 0.7, "n_2": -1.3, "3x": 0.25}


def value(text: str, time: float = 0.0) -> float:
    return float(parse(text).evaluate(VOLTAGES, time))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1+2*3", 7), ("1-2-3", -4), ("8/4/2", 1), ("2--3", 5), ("2*-3", -6), ("--3", 3), ("+3", 3), ("(1+2)*3", 9),
        # powers: |base|, grouped to the left, tighter than minus
        ("2^3^2", 64), ("2**3**2", 64), ("-2^2", -4), ("2^-1", 0.5), ("2^-3^2", 2**-9), ("(-2)^3", 8), ("pow(-2,3)", 8),
        ("pwr(-2,2)", -4), ("v(n_2)^1", 1.3), ("0^0", 1),
        # numbers
        (".5", 0.5), ("5.", 5), ("1e-3", 1e-3), ("1e", 1), ("1.5e3k", 1.5e6), ("3MEG", 3e6), ("3M", 3e-3),
        ("3mil", 76.2e-6),
        ("2fF+1p", 2e-15 + 1e-12), ("1n+1u", 1e-9 + 1e-6), ("1t+1g", 1.001e12), ("1.5kohm", 1500), ("3z", 3),
        ("pi", math.pi), ("E", math.e),
        # comparison and logic
        ("1<2<3", 1), ("2>1==1", 1), ("1==2<1", 0), ("1<>2", 1), ("2>=2", 1), ("2<=1", 0), ("1!=1", 0), ("1+2>2", 1),
        ("1||0&&0", 1), ("0.3&&0.4", 1), ("0.5||0", 1), ("1<2&&3>2", 1), ("!0", 1), ("!v(a)", 0), ("!(v(a)<0)", 1),
        # conditional
        ("1?2:0?3:4", 2), ("0?2:0?3:4", 4), ("1?2?3:4:5", 3), ("(1 ? 2 : 3) + 1", 3), ("1 ? 2 : 3 + 1", 2),
        ("-1?7:8", 7),
        # functions
        ("u(0)", 0.5), ("u(-1)+u(2)", 1), ("u2(0.3)", 0.3), ("uramp(-1)+uramp(2.5)", 2.5), ("min(1,2)+max(3,4)", 5),
        ("LOG(2.5)", math.log(2.5)), ("ln(2.5)", math.log(2.5)), ("log10(2.5)", math.log10(2.5)), ("sgn(-3)", -1),
        # nodes and time
        ("v(a)", 0.7), ("V( a , n_2 )", 2.0), ("v(0)", 0), ("v(3x,GND)", 0.25), ("2*time", 4),
    ],
)  # fmt: skip
def test_values(text, expected):
    np.testing.assert_allclose(value(text, 2.0), expected, rtol=1e-15)


@pytest.mark.parametrize("name", ["exp", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "sqrt"])
def test_functions_against_math(name):
    for x in (0.0, 0.3, 0.99):
        np.testing.assert_allclose(value(f"{name}({x})"), getattr(math, name)(x), rtol=1e-14, atol=1e-15)


def test_nodes_in_order_of_appearance_without_ground():
    assert parse("v(B)+v(a.b:1,0)*V(B,_x9)").nodes == ("B", "a.b:1", "_x9")


def test_arrays_broadcast_and_jax_transforms():
    expression = parse("v(a) > 0 ? tanh(v(a))*v(b) : uramp(v(b))^2 - time")
    a, b = jnp.array([-1.0, 0.5, 2.0]), jnp.array([[0.3], [-0.4]])
    expected = np.where(a > 0, np.tanh(a) * b, np.maximum(b, 0) ** 2 - 1e-9)
    np.testing.assert_allclose(jax.jit(expression.evaluate)({"a": a, "b": b}, 1e-9), expected, rtol=1e-13)
    slope = jax.jacfwd(lambda x: parse("x0 ? 1 : 0".replace("x0", "v(x)<0") + "+v(x)^2").evaluate({"x": x}))(0.0)
    assert float(slope) == 0.0


def test_single_precision_stays_single():
    assert parse("2*v(a)+time").evaluate({"a": jnp.float32(1)}).dtype == jnp.float32
    assert parse("2*v(a)").evaluate({"a": 1}).dtype == jnp.float64


def test_forward_mode_ignores_the_arm_not_taken():
    derivative = jax.jacfwd(lambda x: parse("v(x)>0 ? sqrt(v(x)) : 0").evaluate({"x": x}))
    assert float(derivative(-1.0)) == 0.0


def test_expressions_compare_and_pickle():
    expression = parse("1 > 0 ? v(a) : -v(b)")
    copy = pickle.loads(pickle.dumps(expression))
    assert copy == expression
    assert hash(copy) == hash(expression)
    assert float(copy.evaluate({"a": 3.0, "b": 1.0})) == 3.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "position 1: expected a value"), ("1+", "position 3: expected a value"),
        ("1 2", "position 3: expected an op"),
        ("foo(1)", "position 1: unknown function 'foo'"), ("1+bar", "position 3: unknown name 'bar'"),
        ("i()", "name of a voltage source"), ("sin", "unknown name"), ("time(1)", "unknown function"),
        ("min(1)", "position 6"),
        ("min(1,2,3)", "position 8"), ("v()", "position 3: expected a node"), ("v(a", "position 4"),
        ("v(a,b,c)", "position 6"),
        ("1=2", "position 2: unexpected character '='"), ("1\n$", "position 3"), ("(1", "expected ')'"),
        ("1)", "position 2"),
        ("1?2", "expected ':'"), ("3a", "suffix 'a'"), ("1e999", "too large"), ("é", "position 1"),
        ("__import__('os')", "un"),
        ("(" * 250 + "1" + ")" * 250, "nested deeper than 200"), ("-" * 100_000 + "1", "nested deeper"),
        ("1?" * 5000, "nested deeper"), ("abs(" * 5000, "nested deeper"), ("2^-" * 5000, "nested deeper"),
    ],
)  # fmt: skip
def test_errors_are_one_line_with_a_position(text, message):
    with pytest.raises(NetlistError) as caught:
        parse(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_long_flat_expressions_and_moderate_depth_are_fine():
    assert value("+".join(["1"] * 5000)) == 5000
    assert value("(" * 190 + "v(a)" + ")" * 190) == 0.7


def test_missing_node_is_named():
    with pytest.raises(NetlistError, match=r"needs V\(nope\)"):
        value("v(nope)")


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="0123456789.eVv(),+-*/^<>=!&|?: apimnux_", max_size=40) | st.text(max_size=20))
def test_any_text_parses_or_is_refused(text):
    try:
        expression = parse(text)
    except NetlistError:
        return
    assert expression.evaluate(dict.fromkeys(expression.nodes, 0.5)).shape == ()


def _expressions() -> st.SearchStrategy[str]:
    """Text whose value is tame: no pole, no branch point and no jump within rounding distance."""
    leaves = st.sampled_from(["v(a)", "v(n_2)", "v(3x)", "v(a,n_2)", "v(0,3x)", "pi", "1.5", "2k", "0.25", "3m", "-2"])

    def extend(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        operators = st.sampled_from(["+", "-", "*", " + ", " - "])
        smooth = st.sampled_from(["sin", "cos", "atan", "tanh", "abs", "uramp", "asinh", "-", "+"])
        pairs = st.sampled_from(["min({0},{1})", "max({0},{1})", "({0})/(1+({1})^2)", "(2+sin({0}))^sin({1})"])
        odd = st.sampled_from(
            ["exp(sin({0}))", "ln(1+abs({0}))", "log10(2+abs({0}))", "sqrt(1+abs({0}))", "tanh({0})^2", "cos({0})**3"]
        )
        tests = st.sampled_from(["v(a)>0.5", "v(n_2)>=0", "1<2&&v(a)<0", "!(v(3x)==0.5)||0", "v(a)!=v(3x)"])
        return st.one_of(
            st.builds("{}{}{}".format, inner, operators, inner),
            st.builds("({}){}({})".format, inner, operators, inner),
            st.builds("{}({})".format, smooth, inner),
            st.builds(lambda form, x, y: form.format(x, y), pairs, inner, inner),
            st.builds(lambda form, x: form.format(x), odd, inner),
            st.builds("({} ? {} : {})".format, tests, inner, inner),
        )

    return st.recursive(leaves, extend, max_leaves=8)


@pytest.mark.spice
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(_expressions(), min_size=60, max_size=60))
def test_random_expressions_agree_with_ngspice(texts):
    _compare(texts, rtol=1e-9)


# The suffix, power and logic rules that a reader of another SPICE would doubt.
RULES = [
    "2^3^2", "-2^2", "2^-3^2", "(-2)^3", "v(n_2)^3", "v(n_2)**3", "pow(v(n_2),3)", "pwr(v(n_2),3)", "v(n_2)^2.5",
    "-v(a)^2", "v(n_2)^1", "v(n_2)^0", "log(2.5)", "ln(2.5)", "log10(2.5)", "u(v(0))", "u(1e-12)", "u2(0.3)",
    "uramp(v(n_2))", "sgn(v(n_2))", "3MEG", "3M", "3mil", "1.5e3k", "1.5kohm", "1g", "1e", "3z", "1<2<3",
    "2>1==1", "1==2<1", "1||0&&0", "0.3&&0.4", "1?2:0?3:4", "0?2:0?3:4", "1?2?3:4:5", "1 ? 2 : 3 + 1",
    "-v(a) ? 7 : 8", "!v(a)", "1<>2", "v(a,0)", "v(gnd,a)", "e", "asin(v(a))", "acos(v(a))", "tan(v(a))",
    "sinh(v(a))", "cosh(v(a))", "exp(v(a))", "floor(v(n_2))", "ceil(v(n_2))", "atanh(v(a))", "acosh(2)", "8/4*2",
    "time",
]  # fmt: skip


@pytest.mark.spice
def test_doubtful_rules_agree_with_ngspice():
    _compare(RULES, rtol=1e-10)
    assert {name for name in FUNCTIONS if any(f"{name}(" in rule for rule in RULES)} >= {"pow", "pwr", "log", "u", "u2"}


@pytest.mark.spice
def test_ngspice_rounds_numbers_to_eleven_digits_but_not_literals():
    number = 0.12345678901234567
    plot = _run([f"{number!r}", literal(number), literal(-number), literal(1e-15 / 3)])
    assert 1e-12 < abs(plot["v(o0)"][0] / number - 1) < 1e-10
    np.testing.assert_allclose([plot["v(o1)"][0], -plot["v(o2)"][0]], number, rtol=1e-15)
    np.testing.assert_allclose(plot["v(o3)"][0], 1e-15 / 3, rtol=1e-15)


@given(st.floats(1e-30, 1e30), st.sampled_from([-1, 1]))
def test_literals_read_back(size, sign):
    assert value(literal(sign * size)) == pytest.approx(sign * size, rel=2e-16, abs=0)


def _run(texts: list[str]) -> dict[str, np.ndarray]:
    sources = [f"V{node} {node} 0 DC {volts!r}" for node, volts in VOLTAGES.items()]
    outputs = [f"B{i} o{i} 0 V={text}\nR{i} o{i} 0 1" for i, text in enumerate(texts)]
    return run_deck("\n".join(["* expressions", *sources, *outputs, ".op", ".end", ""]))[0].data


def _compare(texts: list[str], rtol: float) -> None:
    data = _run(texts)
    for index, text in enumerate(texts):
        np.testing.assert_allclose(value(text), data[f"v(o{index})"][0], rtol=rtol, atol=1e-10, err_msg=text)


def test_an_expression_may_be_parsed_while_jax_traces():
    text = "pwl(v(traced), -1, 2*3, 1, 4)"
    assert float(jax.jit(lambda x: parse(text).evaluate({"traced": x}))(0.0)) == pytest.approx(5.0)
