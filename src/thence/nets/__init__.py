"""Loading checkpoints (torch starts here)."""
