"""Reproduced papers, one folder each: recipes, run, README with the paper's numbers next to ours."""
