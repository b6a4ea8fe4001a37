"""``python -m lamina`` is the command ``lamina``."""

from __future__ import annotations

import sys

from lamina.cli import main

sys.exit(main())
