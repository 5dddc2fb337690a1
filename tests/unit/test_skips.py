"""A skip that is not on the list, or whose condition does not hold, ends a session with an error."""

import importlib.util
import re
from pathlib import Path

import pytest
from skips import SkipList

pytest_plugins = ["pytester"]
HERE = Path(__file__).parents[1]
TESTS = """
import pytest

def test_passes():
    pass

@pytest.mark.parametrize("x", ["a", "b"])
def test_skips(x):
    pytest.skip(f"no {x}")

@pytest.mark.xfail
def test_fails_as_expected():
    assert False
"""


def entry(tests, reason, without=""):
    return f'[[skip]]\ntests = "{tests}"\nreason = "{reason}"\nwithout = "{without}"\n'


@pytest.fixture
def session(pytester, monkeypatch):
    """Runs three tests, two of which skip, under the conftest of this suite and a list."""
    monkeypatch.delenv("CI", raising=False)
    pytester.makeini("[pytest]\n")
    folder = pytester.mkdir("tests")
    for name in ("conftest.py", "skips.py"):
        (folder / name).write_text((HERE / name).read_text())

    def run(listed, *options, tests=TESTS):
        start = pytester.runpytest_subprocess if "-n" in options else pytester.runpytest_inprocess
        (folder / "skips.toml").write_text(listed or "skip = []")
        (folder / "test_some.py").write_text(tests)
        return start("-p", "no:cacheprovider", *options)

    return run


@pytest.mark.long
@pytest.mark.parametrize("workers", [(), ("-n", "1", "--dist=loadfile")], ids=["here", "xdist"])
def test_a_skip_that_is_not_listed(session, workers):
    result = session(entry("tests/test_some.py::test_skips*", "no a"), "--strict-skips", *workers)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["*skips that tests/skips.toml does not allow*", "tests/test_some.py::test_skips*b*: no b"]
    )
    result.stdout.no_fnmatch_line("*: no a")
    result.assert_outcomes(passed=1, skipped=2, xfailed=1)


def test_continuous_integration_is_strict_and_others_are_not(session, monkeypatch):
    assert session("").ret == pytest.ExitCode.OK
    monkeypatch.setenv("CI", "true")
    assert session("").ret == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize(
    ("without", "allowed"),
    [("", True), ("numpy", False), ("nowhere_to_be_found", True), ("$HERE", False), ("$NOWHERE", True)],
)
def test_the_condition_of_an_entry(tmp_path, monkeypatch, without, allowed):
    monkeypatch.setenv("HERE", "1")
    (tmp_path / "list.toml").write_text(entry("*::test_skips*", "no ?", without))
    skips = SkipList(tmp_path / "list.toml")
    assert skips.allows("a.py::test_skips[3]", "no b") is allowed
    assert not skips.allows("a.py::test_skips[3]", "no bread") and not skips.allows("a.py::test_other", "no b")


def test_an_entry_that_lacks_a_key(tmp_path):
    (tmp_path / "list.toml").write_text(entry("*", "no b").replace("without", "with"))
    with pytest.raises(pytest.UsageError, match="without"):
        SkipList(tmp_path / "list.toml")


def test_a_module_that_skips_as_a_whole(session):
    tests = "import pytest\npytest.skip('not today', allow_module_level=True)\n"
    result = session("", "--strict-skips", tests=tests)
    result.stdout.fnmatch_lines(["tests/test_some.py: not today"])
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_modules_that_tests_can_do_without():
    """Each is here, or on the list under the reason that pytest gives."""
    listed = SkipList(HERE / "skips.toml")
    calls = re.compile(r"""importorskip\((?P<module>[^),]+)(?P<more>[^)]*)\)""")
    for path in sorted(HERE.glob("*/test_*.py")):
        for call in calls.finditer(path.read_text()):
            assert not call["more"], f"{path.name}: a reason of its own is on no list: {call[0]}"
            for module in re.findall(r'"(\w+)[\w.]*"', call["module"]):
                reason = f"could not import '{module}': No module named '{module}'"
                node = f"tests/{path.parent.name}/{path.name}::test_some"
                assert importlib.util.find_spec(module) or listed.allows(node, reason), f"{path.name}: {module}"
