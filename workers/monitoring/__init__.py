"""Figures for those who watch: read in one snapshot, shown by `relais status`, exported for Prometheus."""
