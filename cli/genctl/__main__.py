"""`python -m genctl`: the same as the `genctl` command."""

from __future__ import annotations

import sys

from genctl.main import main

sys.exit(main())
