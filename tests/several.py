"""What tests of several processes have in common."""

import os
from typing import Any

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def settings(devices: int) -> dict[str, Any]:
    return {"trainer": {"strategy": "ddp", "devices": devices}, "device": "cpu"}
