"""Table VII: time of the encoder in two runtimes and of the choice of a policy, one image at a time.

python -m benchmarks.papers.rp_mpq.latency WEIGHTS POLICIES OUT.csv
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROUNDS = 50


def measure(weights: str, policies: Path) -> pd.DataFrame:
    """Milliseconds of one image (median, 10 % and 90 % quantile): encoder in every runtime, choice of its policy."""
    from benchmarks.export import _images
    from benchmarks.speed.timing import in_turn
    from benchmarks.speed.ue import encoder_latency
    from receivers.models.weights import TrainedModel
    from receivers.quantization.policy_set import PolicySet
    from receivers.quantization.precision_control import choose
    from receivers.quantization.violation import hoyer_sparsity, importance

    known = PolicySet.load(policies)
    image = _images(TrainedModel(weights))[:1]
    kappa, table = known.kappa[known.refined], known.surrogates[0]

    def selection() -> Any:
        sparsity = hoyer_sparsity(image)
        return choose(table.lookup(10.0, sparsity)[:, known.refined], importance(sparsity, 1.0), kappa, 0.1)

    rows = encoder_latency(weights, ROUNDS)
    low, middle, high = 1e3 * np.quantile(in_turn({"": selection}, 20 * ROUNDS)[""], (0.1, 0.5, 0.9))
    rows.append(
        {"weights": weights, "runtime": "policy selection", "precision": "-", "ms": middle, "low": low, "high": high}
    )
    frame = pd.DataFrame(rows)
    fastest = frame.ms.iloc[:-1].min()
    return frame.assign(selection_percent=100 * middle / frame.ms, fastest_ms=fastest)


if __name__ == "__main__":
    measure(sys.argv[1], Path(sys.argv[2])).to_csv(sys.argv[3], index=False, float_format="%.5g")
