"""Text out of models: local, openai (servers), replay (recorded samples), scripted (the test double)."""
