"""Training: losses, tokenised examples, one loop, and the verifiers made with them."""
