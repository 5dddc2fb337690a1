"""Errors of users: one or several, moved into sections, pickled; suggestions."""

import pickle

import pytest
from pydantic import BaseModel, ConfigDict, Field

from simulator.core.errors import ConfigError, Faults, StoreError, joined, required, unknown
from simulator.core.params import Integer, parsed


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    bits: Integer = Field(ge=1)
    label: str | None = None


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    lines: tuple[Inner, ...] = Field(min_length=1)
    by_name: dict[str, Inner] = {}
    inner: Inner | None = None


def lines(error):
    return str(error).splitlines()


@pytest.mark.parametrize(
    ("received", "known", "suggested"),
    [
        ("bit", ["bits", "seed"], " (did you mean bits?)"),
        ("ZF", ["mrt", "zf"], " (did you mean zf?)"),
        ("bits", ["bits"], ""),
        ("foo", ["bits", "seed"], ""),
        ("x" * 10_000, ["bits"], ""),
    ],
)
def test_suggestions(received, known, suggested):
    assert str(unknown("a", received, known)) == f"a: unknown: {received}{suggested}; allowed: {', '.join(known)}"
    assert suggested in str(ConfigError("a", received, ", ".join(known)))


def test_suggestions_from_lists_in_words_only():
    assert "did you mean" not in str(ConfigError("a", "tests", "text that matches x"))
    assert "(did you mean rvq?)" in str(ConfigError("a", "rvk", "an index below 1 or one of dft, rvq"))
    assert "(did you mean ue?)" in str(ConfigError("a", "uee", "'ue' or 'gnb'"))
    assert "did you mean" not in str(ConfigError("a", 5, "5s, 6s"))


def test_all_errors_of_nested_sections_in_order():
    data = {
        "lines": [{"bits": 0}, {"bit": 3}],
        "by_name": {"x": {"bits": 1, "labels": 2}},
        "inner": {"bits": "x"},
        "nme": 1,
    }
    with pytest.raises(ConfigError) as caught:
        parsed(Outer, data)
    assert lines(caught.value) == [
        "lines.0.bits: got 0; allowed: greater than or equal to 1",
        "lines.1: unknown: bit (did you mean bits?); allowed: bits, label",  # which explains why bits is missing
        "by_name.x: unknown: labels (did you mean label?); allowed: bits, label",
        "inner.bits: got 'x'; allowed: a number",
        "unknown: nme (did you mean name?); allowed: name, lines, by_name, inner",
    ]


def test_missing_field_is_named_when_nothing_explains_it():
    with pytest.raises(ConfigError, match=r"^name: required\nlines: required$"):
        parsed(Outer, {})


def test_faults_are_raised_together_once_each():
    faults = Faults()
    for error in (ConfigError("a", 1, "2"), StoreError("b: damaged"), ConfigError("a", 1, "2"), required("c")):
        with faults:
            raise error
    with pytest.raises(KeyError), faults:
        raise KeyError("an internal fault is none of the user's")
    with pytest.raises(ConfigError) as caught:
        faults.throw()
    assert lines(caught.value) == ["a: got 1; allowed: 2", "b: damaged", "c: required"]
    assert caught.value.line == "a: got 1; allowed: 2; b: damaged; c: required"
    Faults().throw()


def test_under_a_section_and_through_pickle():
    error = joined([unknown("", "bit", ["bits"]), ConfigError("seed", -1, "0 or more"), StoreError("x")])
    moved = pickle.loads(pickle.dumps(error.under("feedback", "rvq")))
    assert lines(moved) == [
        "feedback.rvq: unknown: bit (did you mean bits?); allowed: bits",
        "feedback.rvq.seed: got -1; allowed: 0 or more",
        "x",
    ]
    assert lines(error)[0] == "unknown: bit (did you mean bits?); allowed: bits"
