"""LVM4CF (arXiv:2505.08566)."""
