"""thence makes language models reason better and shows where the gain came from."""

__version__ = "0.1.0"
