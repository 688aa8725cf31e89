"""Numbers of runs: intervals, paired tests, coverage, curves, calibration."""
