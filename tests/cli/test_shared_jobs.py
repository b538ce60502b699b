"""Promises of the jobs of one sweep: they build what they share once, and store what they read again."""

import functools
import gc
import itertools
import sys
import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from tests.handmade_commands import run_command
from tests.tone import write_tone
from transformers import AutoModelForCausalLM

from lmsteer.cli.shared_objects import SHARED
from lmsteer.data.batching import batch_rows
from lmsteer.data.sources.labeled_file import labeled_file
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.random_models import tiny
from lmsteer.storage.shards import KEYS

RESULTS = ("steer.safetensors", "generations.jsonl", "metrics.json", "values.safetensors", "config.yaml", "report.html")
BUILT = {
    "corpus": "lmsteer.data.sources.labeled_file.labeled_file",
    "model": "lmsteer.models.random_models.tiny",
    "prompts": "lmsteer.data.prompts.prompt_sets.corpus_prefixes",
    "scorer": "lmsteer.scoring.tfidf.TfidfScorer",
}
LOADED = "perplexity model"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tone(tmp_path_factory.mktemp("corpus"), rows=200)


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model on disk, for the perplexity."""
    folder = tmp_path_factory.mktemp("models") / "other"
    model = tiny(seed=5)
    model.lm.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each kind of object was built."""
    counts: Counter[str] = Counter()
    for kind, target in BUILT.items():
        module, _, name = target.rpartition(".")
        original = getattr(sys.modules[module] if module in sys.modules else __import__(module, fromlist=[name]), name)

        def counted(*args: Any, original: Any = original, kind: str = kind, **options: Any) -> Any:
            counts[kind] += 1
            return original(*args, **options)

        monkeypatch.setattr(target, functools.wraps(original)(counted))
    load = AutoModelForCausalLM.from_pretrained

    def counted_load(*args: Any, **options: Any) -> Any:
        counts[LOADED] += 1
        return load(*args, **options)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", counted_load)
    return counts


def options(corpus: Path, *others: str) -> list[str]:
    small = ["trainer.max_steps=4", "data.batch_size=4", "trainer.val_check_interval=2", "protocol.samples=2"]
    small += ["protocol.prompts.own.n=3", "steer.rank=4", "logger=none", "cache=off"]
    return ["model=tiny", "corpus=file", f"corpus.path={corpus}", "steer.name=tone", *small, *others]


def perplexity_under(folder: Path) -> str:
    target = "_target_:lmsteer.models.load.load_model,_partial_:true"
    return f"protocol.perplexity_model={{{target},id:'{folder}',name:other}}"


def jobs_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())


def test_jobs_share_what_they_are_built_of_and_end_as_runs_of_their_own(
    corpus: Path, other_model: Path, tmp_path: Path, built: Counter[str]
) -> None:
    swept, alone = tmp_path / "sweep", tmp_path / "alone"
    common = options(corpus, perplexity_under(other_model))
    assert (
        run_command("train", "-m", *common, "seed=0,1", "protocol.strengths=[5],[-5]", f"hydra.sweep.dir={swept}") == 0
    )
    assert built == dict.fromkeys((*BUILT, LOADED), 1)
    jobs = {(job / "config.yaml").read_bytes(): job for job in jobs_of(swept)}
    for number, (seed, strengths) in enumerate(itertools.product((0, 1), ("[5]", "[-5]"))):
        SHARED.retain(())
        own = alone / str(number)
        command = [*common, f"seed={seed}", f"protocol.strengths={strengths}", f"hydra.run.dir={own}"]
        assert run_command("train", *command) == 0
        job = jobs.pop((own / "config.yaml").read_bytes())
        for name in RESULTS:
            assert (own / name).read_bytes() == (job / name).read_bytes(), name
    assert jobs == {}


def test_a_perplexity_model_that_is_the_models_own_is_loaded_once(
    corpus: Path, other_model: Path, tmp_path: Path, built: Counter[str]
) -> None:
    common = [item for item in options(corpus, perplexity_under(other_model)) if item != "model=tiny"]
    model = ["model=hf", f"model.id={other_model}", "model.name=other"]
    assert run_command("train", *common, *model, f"hydra.run.dir={tmp_path / 'run'}") == 0
    assert built[LOADED] == 1


def test_the_model_of_an_earlier_job_is_gone_before_the_next_is_built(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models: list[weakref.ref[LanguageModel]] = []
    alive: list[int] = []

    @functools.wraps(tiny)
    def watched(**arguments: Any) -> LanguageModel:
        gc.collect()
        alive.append(sum(model() is not None for model in models))
        model = tiny(**arguments)
        models.append(weakref.ref(model))
        return model

    monkeypatch.setattr("lmsteer.models.random_models.tiny", watched)
    grid = ["protocol=none", "model.seed=0,1,2", f"hydra.sweep.dir={tmp_path}"]
    only_fit = [item for item in options(corpus) if not item.startswith("protocol.")]
    assert run_command("train", "-m", *only_fit, *grid) == 0
    assert alive == [0, 0, 0]


def stored(folder: Path) -> int:
    """Number of texts whose hidden states are stored, and no file of another kind."""
    files = list(folder.rglob("features/**/*.safetensors"))
    sizes = []
    for file in files:
        with safe_open(file, "pt") as tensors:
            sizes.append(len(tensors.get_tensor(KEYS)))
    return sum(sizes)


@pytest.mark.parametrize(
    ("grid", "seeds", "steps"),
    [
        (["seed=0,1"], (), 0),  # 16 rows each of some 260: hardly one is drawn by both
        (["seed=0,1", "data.rows=30,40"], (), 0),
        (["steer.rank=2,4"], (0,), 4),
        (["steer.rank=2,4", "seed=3"], (3,), 4),
        (["steer.rank=2,4", "seed=0,1"], (0, 1), 4),
        (["trainer.max_steps=4,6"], (0,), 6),
    ],
)
def test_a_sweep_stores_the_rows_that_several_of_its_jobs_read(
    grid: list[str],
    seeds: tuple[int, ...],
    steps: int,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LMSTEER_CACHE", str(tmp_path / "cache"))
    only_fit = [item for item in options(corpus) if not item.startswith(("protocol.", "cache="))]
    command = ["-m", *only_fit, "protocol=none", "cache=auto", *grid, f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    assert run_command("train", *command) == 0
    split = labeled_file(path=str(corpus))
    drawn = [batch_rows(t, rows=len(split.train), batch_size=4, seed=seed) for seed in seeds for t in range(steps)]
    assert stored(tmp_path / "cache") == len(split.dev) + len({row for rows in drawn for row in rows})


def test_a_sweep_of_the_one_pass_solver_stores_all_rows_whatever_its_seeds(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMSTEER_CACHE", str(tmp_path / "cache"))
    only_fit = [item for item in options(corpus) if not item.startswith(("protocol.", "cache="))]
    one_pass = ["protocol=none", "cache=auto", "solver=one_pass", "solver.permutations=39", "seed=0,1"]
    assert run_command("train", "-m", *only_fit, *one_pass, f"hydra.sweep.dir={tmp_path / 'sweep'}") == 0
    assert stored(tmp_path / "cache") > 200
