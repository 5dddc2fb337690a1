"""Figures and page of a finished run."""
