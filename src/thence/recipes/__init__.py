"""Recipes: whole training procedures, each one readable loop."""
