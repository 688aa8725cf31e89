"""ARC-AGI: the task, its prompt, and two programs that solve some of it without a language model."""
