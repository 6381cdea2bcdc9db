"""``python -m mpesa_stk`` is the ``mpesa-stk`` command."""

from __future__ import annotations

import sys

from mpesa_stk.cli import main

sys.exit(main())
