"""What the reproduced papers share: stages, cached tables, trainings, seeds, figures, latency, tables of a README."""
