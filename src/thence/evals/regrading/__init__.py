"""Saved outputs graded again: readers, graders, second opinions, audits."""
