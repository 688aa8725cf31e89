"""ARC-AGI: the published score of a run, and grids as pictures."""
