"""The ``lamina`` command: ``lamina demo`` shows what it can do, ``lamina config`` what it runs on."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def parser() -> argparse.ArgumentParser:
    import lamina

    top = argparse.ArgumentParser(prog="lamina", description="torch.nn without PyTorch, on NumPy and oneDNN.")
    top.add_argument("--version", action="version", version=f"lamina {lamina.__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="layers, gradients and training on real data, in under a minute")
    demo.add_argument("--image", metavar="FILE", help="your own picture (default: the photograph that ships)")
    demo.add_argument(
        "--out", metavar="DIR", default="lamina-demo", help="for the results (default: %(default)s)"
    )
    demo.add_argument("--quick", action="store_true", help="train for a few epochs only")

    commands.add_parser("config", help="show the version, the engine and the libraries that are used")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, or 1 and a line on stderr if something is wrong."""
    arguments = parser().parse_args(argv)
    if arguments.command == "config":
        import lamina

        print(f"lamina            {lamina.__version__}")
        lamina.show_config()
        return 0
    from lamina import demo

    try:
        for line in demo.run(arguments.image, arguments.out, arguments.quick):
            print(line, flush=True)
    except (ImportError, OSError, ValueError) as error:
        print(f"lamina demo: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
