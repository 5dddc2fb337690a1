"""What libraries write to the terminal by themselves is discarded, in C too; errors pass, and debugging shows it."""

import os

import pytest

from benchmarks.quiet import quiet


def noise():
    os.write(1, b"from C\n")
    os.write(2, b"cudart\n")
    print("from Python")


def test_silence(capfd, monkeypatch):
    monkeypatch.delenv("CSILINK_DEBUG", raising=False)
    with quiet():
        noise()
    print("after")
    assert capfd.readouterr() == ("after\n", "")
    with pytest.raises(ValueError, match="seen"), quiet():
        noise()
        raise ValueError("seen")
    noise()
    out = capfd.readouterr()
    assert sorted(out.out.splitlines()) == ["from C", "from Python"] and out.err == "cudart\n"
    monkeypatch.setenv("CSILINK_DEBUG", "1")
    with quiet():
        noise()
    assert "from C" in capfd.readouterr().out
