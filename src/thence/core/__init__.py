"""The core: problems, completions, trees, budgets, search and the runner. Standard library only."""
