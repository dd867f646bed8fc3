"""What a run of the tests is given: the seed of everything random, and whether the full numbers are asked for."""

from __future__ import annotations

import os
import random

SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(2**31))
LONG = os.environ.get("LONG") == "1"
