"""What is tried: one idea a file, one mechanism a folder. Importing this package imports no torch."""

from impl.registry import implements, mixer

__all__ = ["implements", "mixer"]
