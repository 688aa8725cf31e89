"""In-process engine: continuous batching over a model whose key/value cache is shared by prefix."""
