"""Folders of weights, and weights of other programs."""
