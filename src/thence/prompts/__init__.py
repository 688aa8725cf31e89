"""Prompt styles: how a problem is put to a model. Orthogonal to strategies."""
