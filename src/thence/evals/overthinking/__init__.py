"""Lengths against accuracy, segments of a thought, what revisions repair and break."""
