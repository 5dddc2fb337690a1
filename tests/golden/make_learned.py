"""Losses and moves of weights in ``learned.json``; ``python tests/golden/make_learned.py`` writes them anew.

Recorded under TensorFlow 2.21, Keras 3.15, on a CPU, in November 2026. Run it when the training of WiFo or WiFo-CF was
changed on purpose.
"""

import json
import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "unit")]

import simulator  # noqa: E402, F401  (before Keras: right products)

if __name__ == "__main__":
    import test_wifo
    import test_wifo_cf
    from learned import RECORDED

    found = {"wifo": test_wifo.learned(), "wifo_cf": test_wifo_cf.learned()}
    RECORDED.write_text(json.dumps(found, indent=1) + "\n")
