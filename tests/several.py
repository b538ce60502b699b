"""What tests of several processes have in common."""

import os
from typing import Any

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def settings(devices: int) -> dict[str, Any]:
    target = {"_target_": "lmsteer.distributed.trainer_config.TrainerConfig", "strategy": "ddp", "devices": devices}
    return {"trainer": target, "device": "cpu"}
