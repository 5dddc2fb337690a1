"""The link. Every package of csilink imports this one first, so that oneDNN is off before TensorFlow is imported."""

from simulator.core.onednn import switch_off_onednn

switch_off_onednn()
