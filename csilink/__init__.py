"""Link-level simulator of CSI feedback for FDD massive-MIMO OFDM, from scripts and notebooks.

    >>> import csilink
    >>> link = csilink.channel("rayleigh", panel=(4, 2, 2), num_users=2, num_rb=26)
    >>> h = link.sample(8, seed=1)
    >>> scheme = csilink.feedback("etype2-r16", link, combination=4)
    >>> known = scheme.reconstruct(scheme.report(h))  # through bits alone
    >>> w = csilink.precoder("zf")(known)
    >>> csilink.rate(h, w, snr_db=20).shape  # [batch, user], bit/s/Hz
    (8, 2)

Nothing heavy is imported until it is used. The command line is ``csilink`` or ``python -m csilink``.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any


def _check_rooms() -> None:
    """ImportError when another module than csilink's own goes by the name of one of its packages.

    A mere folder of that name, without ``__init__.py``, hides a package of an editable installation unless the root of
    that is in ``sys.path``.
    """
    root = Path(__file__).resolve().parents[1]
    if str(root) not in sys.path:
        sys.path.append(str(root))
    for room in ("simulator", "receivers", "scenarios", "benchmarks"):
        spec = find_spec(room)
        places = list(spec.submodule_search_locations or [spec.origin or ""]) if spec else []
        if not any(place and Path(place).resolve() == root / room for place in places):
            found = os.fspath(places[0]) if places else "nothing"
            raise ImportError(
                f"csilink needs its own package {room!r} in {root}, but Python finds {found} under that name: rename "
                "that file or folder, or put its folder after csilink's in sys.path"
            )


_check_rooms()

import simulator  # noqa: E402, F401  (before Keras: right products under TensorFlow)

if TYPE_CHECKING:
    from benchmarks.face.axes import unit_power
    from benchmarks.face.channel import channel
    from benchmarks.face.command import command
    from benchmarks.face.downlink import precoder, rate
    from benchmarks.face.feedback import feedback
    from benchmarks.face.results import load
    from benchmarks.runner import check, run
    from receivers.feedback.network import NetworkFeedback
    from receivers.weights.folder import weights
    from simulator.core.registry import register

__all__ = [
    "NetworkFeedback",
    "channel",
    "check",
    "command",
    "feedback",
    "load",
    "precoder",
    "rate",
    "register",
    "run",
    "unit_power",
    "weights",
]
_MODULES = {
    "NetworkFeedback": "receivers.feedback.network",
    "channel": "benchmarks.face.channel",
    "check": "benchmarks.runner",
    "command": "benchmarks.face.command",
    "feedback": "benchmarks.face.feedback",
    "load": "benchmarks.face.results",
    "precoder": "benchmarks.face.downlink",
    "rate": "benchmarks.face.downlink",
    "register": "simulator.core.registry",
    "run": "benchmarks.runner",
    "unit_power": "benchmarks.face.axes",
    "weights": "receivers.weights.folder",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from simulator.core.content import own_version

        return own_version()
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'csilink' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return [*__all__, "__version__", "testing"]
