"""Measuring: evaluation of one strategy, comparison of several, and the statistics of both."""
