"""Strategies: one file per method. They reach models only through ``core.search.Search``."""
