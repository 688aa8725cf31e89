"""Runs as pages and pictures: comparisons, trees, reports."""
