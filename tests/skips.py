"""A skipped test hides what it would find: every skip is on a list, with the condition under which it is right."""

import fnmatch
import importlib.util
import os
import tomllib
from pathlib import Path

import pytest

ENTRY = {"tests", "reason", "without"}


def missing(name):
    """Whether what a test needs is not there: a module, "$VARIABLE" of the environment, "libLLVM" or "AVX-512"."""
    if name == "libLLVM":
        from simulator.phy.llvm import candidates

        return not candidates()
    if name == "AVX-512":
        from products import avx512

        return not avx512()
    return name[1:] not in os.environ if name.startswith("$") else importlib.util.find_spec(name) is None


class SkipList:
    """Plug-in that ends a session with an error if a test skips that the list does not allow to.

    Args:
        path: TOML with tables ``[[skip]]``: ``tests`` (pattern of node ids), ``reason`` (pattern of the reason that the
            test gives) and ``without`` (what is missing then, see :func:`missing`; "" where the skip is always right).
    """

    def __init__(self, path):
        self.entries, self.faults = tomllib.loads(Path(path).read_text())["skip"], []
        for entry in self.entries:
            if set(entry) != ENTRY:
                raise pytest.UsageError(f"{path}: an entry has the keys {', '.join(sorted(ENTRY))}; got {entry}")

    def allows(self, nodeid, reason):
        """Whether an entry fits, and what it says is missing is missing."""
        return any(
            fnmatch.fnmatchcase(nodeid, entry["tests"])
            and fnmatch.fnmatchcase(reason, entry["reason"])
            and (not entry["without"] or missing(entry["without"]))
            for entry in self.entries
        )

    def pytest_runtest_logreport(self, report):
        """Every report of every worker comes by here."""
        if report.skipped and not hasattr(report, "wasxfail"):
            test, at, _ = report.nodeid.rpartition("@")  # xdist appends the group
            nodeid = test if at and "]" not in report.nodeid[len(test) :] else report.nodeid
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            reason = reason.removeprefix("Skipped: ")
            if not self.allows(nodeid, reason):
                self.faults.append(f"{nodeid}: {reason}")

    pytest_collectreport = pytest_runtest_logreport

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session):
        """The session fails, whatever its tests did."""
        if self.faults and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter):
        """What skipped, and why that is an error."""
        if self.faults:
            terminalreporter.section("skips that tests/skips.toml does not allow", red=True)
            for fault in self.faults:
                terminalreporter.line(fault)
