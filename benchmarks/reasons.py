"""Why rows are below 1: the first pattern that a row's label matches tells what is known to stand in the way.

``python -m benchmarks.report --page`` writes these above the rows, and names the rows below 1 for which nothing is said here.
"""

from __future__ import annotations

SHORT = 0.15  # milliseconds: calls that take no longer are those of FEW
FEW = (
    "Calls that take less than 0.15 ms: an operation, or a node of a backward pass, is some microseconds of Python here and "
    "C++ in PyTorch; `compile` removes most of it."
)

REASONS: tuple[tuple[str, str], ...] = (
    ("^overhead", FEW),
    (
        "^compiled in use.*(LeNet|MLP).*ONNX",
        "Small networks, compiled: a call from Python costs some microseconds, little work is done on one thread, and threads "
        "of ONNX Runtime stay awake for 40 ms after a call (its LeNet, one image: 0.045 ms; 0.061 where they may not; 0.065 on "
        "one thread).",
    ),
    (
        "^compiled in use.*ONNX",
        "ONNX Runtime's own kernels against oneDNN's and OpenBLAS's: depthwise convolutions, recurrent layers, small products.",
    ),
    (
        "^(transformer|linear|(model|compiled).*(Transformer|ViT))",
        "Matrix products take most of the time, by OpenBLAS or oneDNN here and by MKL there.",
    ),
    (
        "^rnn|LSTM|GRU",
        "PyTorch's LSTM calls oneDNN's recurrent primitive as well; short steps pay for Python here.",
    ),
    ("^norm", "Statistics are several passes here, where PyTorch makes one; no sum runs over more than 256 rows, for accuracy."),
    (
        "^distance.*pdist",
        "Pairs of few rows are gathered and their differences squared and summed, of many rows multiplied in double precision "
        "and gathered, where PyTorch sums the differences in one pass.",
    ),
    ("^(activation|loss|distance|dropout|table)", "Several passes over memory, by oneDNN or NumPy, where PyTorch makes one."),
    (
        "^(pad|shuffle|resample|tensor|pool.*(Unpool|Fractional|LPPool))",
        "NumPy computes it: in one thread, or in several passes over memory where PyTorch makes one.",
    ),
    ("^optimizer.*SGD", "SGD is one pass over memory on either side, and a few microseconds of Python for each tensor here."),
    (
        "^optimizer.*fused",
        "PyTorch's fused Adam is one pass over memory; here NumPy makes some ten over blocks that stay in the cache.",
    ),
    (
        "^peak memory",
        "Not known row by row: weights in the engine's own forms, what a graph keeps for its rules, and for recurrent layers "
        "oneDNN's workspace; the smallest rows are a few megabytes.",
    ),
    ("^pool", "Arrays are put into oneDNN's order and back, which short pools do not earn back."),
    ("^(conv|model|training|compiled)", "oneDNN computes on both sides; to put arrays into its order and back takes time here."),
)
