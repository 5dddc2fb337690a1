"""An engine in the process of the tests: a worker process loads TensorFlow anew."""

import random

from benchmarks.worker import compute


class Inline:
    """Computes here; units in flight finish in a random order.

    Args:
        slots: units in flight at most.
    """

    computed = 0

    def __init__(self, slots=2):
        self.slots, self._random, self._waiting = slots, random.Random(slots), []

    def submit(self, unit):
        self._waiting.append(unit)

    def next_done(self):
        unit = self._waiting.pop(self._random.randrange(len(self._waiting)))
        unit.write(compute(unit.scenario_text, unit.first, unit.drops, unit.point.content))
        Inline.computed += 1
        return unit

    def close(self):
        pass
