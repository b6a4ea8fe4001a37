"""Speed of lamina against PyTorch, side by side: ``python -m benchmarks --help``."""
