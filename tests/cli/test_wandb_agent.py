"""The documented sweep of W&B: its own programs create it and run it, against a stand-in for its server."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from tests.wandb_server import ENTITY, WandbServer

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docs" / "wandb_sweep.yaml"
KEY = "0123456789abcdef" * 2 + "deadbeef"
SMALL = ["model=tiny", "trainer.max_steps=2", "data.batch_size=4", "trainer.val_check_interval=2", "data.rows=40"]
SMALL += ["protocol.samples=1", "decoding.max_new_tokens=4", "protocol.prompts.neutral.n=3", "cache=off"]
SETTING = {"steer.rank": 16, "optimizer.lr": 0.0123}


def test_the_documented_sweep_is_run_by_the_agent_and_logs_what_it_optimizes(tmp_path: Path) -> None:
    sweep: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    assert SETTING.keys() == sweep["parameters"].keys()
    end = sweep["command"].index("${args_no_hyphens}")
    sweep["command"][end:end] = [*SMALL, f"hydra.run.dir={tmp_path}/${{now:%H-%M-%S-%f}}"]
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep), encoding="utf-8")
    server = WandbServer()
    server.settings = [SETTING]
    environment = {name: value for name, value in os.environ.items() if name not in ("WANDB_MODE", "WANDB_SERVICE")}
    environment |= {f"WANDB_{name}": str(tmp_path) for name in ("DIR", "DATA_DIR", "CACHE_DIR", "CONFIG_DIR")}
    environment |= {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY, "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"  # the agent starts `python`
    wandb = [sys.executable, "-m", "wandb"]
    with server.listening():
        for arguments in (
            ["sweep", str(tmp_path / "sweep.yaml")],
            ["agent", "--count", "1", f"{ENTITY}/lmsteer/sweep1"],
        ):
            done = subprocess.run(
                [*wandb, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
            )
            assert done.returncode == 0, done.stderr
    assert server.sweep["project"] == "lmsteer"
    assert yaml.safe_load(server.sweep["config"]) == sweep
    trial = server.runs["trial0"]
    assert trial.exit_code == 0, done.stderr
    assert trial.fields["sweep"] == "sweep1"
    assert (trial.config["steer"]["rank"], trial.config["optimizer"]["lr"]) == tuple(SETTING.values())
    assert 0 <= trial.summary[sweep["metric"]["name"]] <= 1
    assert server.named(trial.inputs)[0].startswith("corpus-snippets-")
