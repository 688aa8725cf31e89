"""Tasks: sets of problems with their references, the only home of references."""
