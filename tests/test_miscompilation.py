"""The reproducer of jax issue 39103 gives the exact number with the jax that is installed."""

from analogep import miscompilation


def test_reproducer_gives_two_to_the_28():
    outcome = miscompilation.measure()
    assert outcome.compiled == 268435456.0
    assert outcome.eager == 268435456.0
    assert miscompilation.check()


def test_the_wrong_value_of_0_10_2_is_not_accepted():
    assert not miscompilation.Outcome(compiled=267911424.0, eager=268435456.0, exact=miscompilation.EXACT).correct
