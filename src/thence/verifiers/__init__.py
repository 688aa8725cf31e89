"""Verifiers: numbers for traces, the reference never visible."""
