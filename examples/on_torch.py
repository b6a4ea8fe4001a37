"""Runs an example on PyTorch instead: the same text, with ``lamina`` changed to ``torch`` where it is imported.

``python examples/on_torch.py digits --epochs 3`` prints what ``python examples/digits.py --epochs 3`` prints, to the tolerance
that the example names.
"""

import re
import sys
from pathlib import Path


def translate(program: str) -> str:
    return re.sub(r"^(import|from) lamina\b", r"\1 torch", program, flags=re.MULTILINE)


if __name__ == "__main__":
    _, name, *arguments = sys.argv
    path = Path(__file__).with_name(f"{name}.py")
    sys.argv = [str(path), *arguments]
    exec(compile(translate(path.read_text(encoding="utf-8")), path, "exec"))
