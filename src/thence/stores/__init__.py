"""Run files: an append-only record of what was generated, so that a finished sample is never paid for twice."""
