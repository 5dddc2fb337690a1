"""Metrics of CSI, link and throughput."""
