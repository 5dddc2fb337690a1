"""What libraries write to the terminal by themselves is discarded, in C too; errors pass, and debugging shows it.

That TensorFlow is among them is tested in test_memory.py.
"""

import os
import sys
from importlib import import_module

import pytest

from benchmarks import quiet as quiet_module
from benchmarks.quiet import quiet, quiet_imports


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


def test_imports_are_silent_whoever_makes_them(capfd, monkeypatch, tmp_path):
    """A library that writes while it is imported, by a plug-in say; its errors pass."""
    monkeypatch.delenv("CSILINK_DEBUG", raising=False)
    text = "import os\nos.write(2, b'cudart\\n')\nprint('hello')\nvalue = 3\n"
    (tmp_path / "talkative_library.py").write_text(text)
    (tmp_path / "talkative_broken.py").write_text(text + "raise ValueError('seen')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", [f for f in sys.meta_path if not isinstance(f, quiet_module._Quiet)])
    names = ("talkative_library", "talkative_broken")
    monkeypatch.setattr(quiet_module, "_TALKATIVE", names)
    quiet_imports()
    quiet_imports()
    assert sum(isinstance(finder, quiet_module._Quiet) for finder in sys.meta_path) == 1
    library = import_module(names[0])
    with pytest.raises(ValueError, match="seen"):
        import_module(names[1])
    assert library.value == 3 and capfd.readouterr() == ("", "")
