"""Right products under TensorFlow: its oneDNN kernels are off.

With them, TensorFlow 2.21 reads and writes past the end of its buffers in float32 products ``[B, 1, m, k] x [1, k, n]``
(left side of rank 4, B > 1, second axis 1, right side without a batch; more than one thread): garbage up to 1e38, or
an abort. TensorFlow's issues 117700 and 123109; fixed after 2.21. They stay off in every release, so that results do
not depend on it. ``tests/unit/test_products.py`` holds the form and fails once TensorFlow is fixed.
"""

from __future__ import annotations

import os
import sys
import warnings

from simulator.core.errors import ConfigError

VARIABLE = "TF_ENABLE_ONEDNN_OPTS"


def switch_off_onednn() -> None:
    """Turn oneDNN off for later imports of TensorFlow, in this process and its children; TensorFlow reads it once.

    A user who set the variable keeps the choice. RuntimeWarning where oneDNN stays on: by that choice, or because
    TensorFlow was imported before.
    """
    chosen = os.environ.get(VARIABLE)
    if not chosen:
        os.environ[VARIABLE] = "0"
    if onednn_is_on() if "tensorflow" in sys.modules else chosen and chosen.lower() not in ("0", "false"):
        why = f"{VARIABLE}={chosen}" if chosen else "TensorFlow was imported before csilink"
        warnings.warn(
            f"oneDNN is on ({why}): TensorFlow 2.21 corrupts memory in some batched float32 products. csilink's "
            f"shipped networks do not use them, layers of yours may: set {VARIABLE}=0 before TensorFlow or Keras is "
            "imported, or import csilink's packages first",
            RuntimeWarning,
            stacklevel=3,
        )


def switch_on_onednn(field: str) -> None:
    """Turn oneDNN on for a later import of TensorFlow in this process, for networks that have no product of that form.

    Raises:
        ConfigError: TensorFlow was imported before, without oneDNN.
    """
    if "tensorflow" in sys.modules and not onednn_is_on():
        raise ConfigError(field, True, "before TensorFlow is imported")
    os.environ[VARIABLE] = "1"


def onednn_is_on() -> bool:
    """What a TensorFlow that is already imported uses, whatever the variable says now."""
    port = sys.modules.get("tensorflow.python.util._pywrap_util_port")
    return port is None or port.IsMklEnabled()
