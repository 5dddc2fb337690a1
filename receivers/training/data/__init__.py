"""Samples that trainings see."""
