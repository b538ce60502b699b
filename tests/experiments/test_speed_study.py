"""Promises of the speed study, on a tiny model and a few sentences; no test checks how long anything took."""

import statistics
from collections.abc import Iterator
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.patches import Rectangle
from tests.fitting import GradientFit
from tests.handmade_commands import study_config

import lmsteer
from experiments.speed.meter import Meter
from experiments.speed.plain import BATCH_SIZE, MAX_LENGTH, PlainFit, continuation_nats, sample_batch
from experiments.speed.report import efficiency_rows, read_speed, speed_figure, speed_tables, straightness
from experiments.speed.run import speed
from experiments.speed.work import Work, draw
from lmsteer.data.corpus import Corpus
from lmsteer.embedded.archives import ARCHIVES
from lmsteer.errors import InputError
from lmsteer.models.language_model import LanguageModel
from lmsteer.records import Row
from lmsteer.scoring.perplexity import continuation_nll
from lmsteer.steering.steer import Steer

FASTER = ("fit", "fit_again", "generate", "generate_transformers", "perplexity")
OVERHEADS = ("steering_overhead", "steering_overhead_rows")
SIZES = {"sentences": 60, "steps": 6, "rank": 4, "prompts": 6, "samples": 2, "batch_size": 4, "texts": 8}
SIZES |= {"repeats": 2, "plain_steps": 2, "plain_texts": 2}
SMALL = ["model=tiny", "dtype=float32", *(f"work.{name}={size}" for name, size in SIZES.items())]
TEXTS = ("The film is warm", "I would like to know where you were then", "It is dull, slow and too long", "Nobody came")


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An embedded cache of nothing but rated sentences."""
    folder, name = tmp_path_factory.mktemp("cache"), "movieReviewSnippets_GroundTruth.txt"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMSTEER_CACHE", str(folder))
        (archive,) = (archive for archive in ARCHIVES if name in archive.members)
        archive.folder().mkdir(parents=True)
        rows = (
            f"{n}\t{n % 9 - 4}.0\tThe story number {n} is {'very ' * (n % 7)}long and I would like to know why"
            for n in range(400)
        )
        (archive.folder() / name).write_text("\n".join(rows) + "\n", encoding="utf-8")
        yield


@pytest.fixture(scope="module")
def run(sentences: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("speed")
    speed(study_config("speed", f"run_dir={folder}", *SMALL))
    return folder


@pytest.fixture
def measured(run: Path) -> dict[str, Any]:
    return read_speed(run / "speed.json")


def test_the_run_leaves_its_files_and_nothing_else(run: Path) -> None:
    assert {path.name for path in run.iterdir()} == {".lock", "config.yaml", "speed.json", "speed.md", "speed.png"}
    assert (run / "speed.png").read_bytes().startswith(b"\x89PNG")


def test_every_figure_holds_both_sides_and_their_quotient(measured: dict[str, Any]) -> None:
    for name in (*FASTER, *OVERHEADS):
        entry = measured[name]
        quotient = entry["plain"] / entry["ours"] if name in FASTER else entry["ours"] / entry["plain"]
        assert entry["unit"] == "s"
        assert entry["ratio"] == pytest.approx(quotient)
        assert min(entry["measured"]["plain"] + entry["measured"]["ours"]) > 0


def test_plain_seconds_are_the_median_of_a_piece_times_the_pieces(measured: dict[str, Any]) -> None:
    # 3 times 2 steps; 2 repeats of 2 samples and of 1 prompt with its texts; transformers' call writes 4 of 12 samples.
    pieces = {
        "fit": (6, 6),
        "fit_again": (6, 6),
        "generate": (4, 12),
        "generate_transformers": (2, 3),
        "perplexity": (2, 4),
    }
    for name, (count, times) in pieces.items():
        seconds = measured[name]["measured"]["plain"]
        assert len(seconds) == count
        assert measured[name]["plain"] == pytest.approx(statistics.median(seconds) * times)
    for name in OVERHEADS:
        assert measured[name]["plain"] == statistics.median(measured[name]["measured"]["plain"])


def test_it_says_what_was_measured_on_what(measured: dict[str, Any], tiny_model: LanguageModel) -> None:
    assert measured["machine"].keys() >= {"cpu", "threads", "device", "dtype", "torch"}
    assert (measured["machine"]["dtype"], measured["machine"]["device"]) == ("float32", "cpu")
    assert measured["work"].items() >= SIZES.items()
    parameters = sum(parameter.numel() for parameter in tiny_model.lm.parameters())
    assert measured["model"] == {"name": "tiny-0", "width": 32, "vocabulary": 384, "parameters": parameters}
    assert measured["steer"] == {"rank": 4, "dimensions": ["sentiment", "dummy"], "parameters": 2 * 2 * 32 * 4}
    assert set(measured["memory"]) == {"unit", "before", *FASTER}
    assert all(len(series["tokens"]) == len(series["seconds"]) == 4 for series in measured["scaling"].values())
    assert measured["scaling"]["generation"]["tokens"] == [2 * 40, 3 * 40, 4 * 40, 6 * 40]


def test_both_sides_do_the_same_work(measured: dict[str, Any]) -> None:
    loss, nats = measured["agreement"]["loss"], measured["agreement"]["nats"]
    assert (loss["steps"], nats["texts"]) == (6, 4)
    assert loss["max_relative_difference"] < 1e-4
    assert nats["relative_difference"] < 1e-4


def test_a_finished_run_is_not_measured_again(run: Path, sentences: None) -> None:
    before = (run / "speed.json").read_bytes()
    speed(study_config("speed", f"run_dir={run}", *SMALL))
    assert (run / "speed.json").read_bytes() == before


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["work.steps=0"], "work.steps=0: an integer of 1 or more expected"),
        (["work.steps=many"], "work.steps='many': Input should be a valid integer"),
        (["work.stpes=3"], "Could not override 'work.stpes'"),
        (["work=5"], "work=5: work.sentences, work.steps, … expected"),
        (["work.sentences=401"], "work.sentences=401: at most 400 expected, all that snippets has"),
        (["work.rank=33"], "steer.rank=33: an integer in [1, 32]"),
    ],
)
def test_wrong_values_end_in_one_line_and_leave_nothing(
    overrides: list[str], message: str, sentences: None, refusal: Any
) -> None:
    names = {override.split("=")[0] for override in overrides}
    others = [item for item in SMALL if not names & {item.split("=")[0], item.split(".")[0]}]
    assert message in refusal("experiments/speed", speed, *others, *overrides)


def test_the_plain_fit_has_the_loss_curve_of_lmsteer(
    tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [Row(f"{text} number {n}", label) for n, text in enumerate(TEXTS * 6) for label in (-0.5, 1.0)]
    corpus = Corpus("small", tuple(rows))
    steer_config = lmsteer.SteerConfig(name="tone", rank=4, epsilon=0.1, init_std=0.1)
    gradient = GradientFit(steps=12, batch_size=8, dev_every=12, max_length=9)
    monkeypatch.setattr("experiments.speed.plain.BATCH_SIZE", gradient.batch_size)
    monkeypatch.setattr("experiments.speed.plain.MAX_LENGTH", gradient.max_length)
    plain = PlainFit(tiny_model, corpus, steer_config, seed=3)
    for _ in range(gradient.steps):
        plain.step()
    _, provenance = gradient(tiny_model, corpus, steer_config, seed=3)
    assert plain.losses == pytest.approx([loss for _, loss in provenance.training["curve"]["train"]], rel=1e-4)
    assert plain.losses[-1] < 0.95 * plain.losses[0]


def test_the_plain_fit_takes_the_batches_of_lmsteers_defaults() -> None:
    defaults = signature(lmsteer.SteerDataModule).parameters
    assert (defaults["batch_size"].default, defaults["max_length"].default) == (BATCH_SIZE, MAX_LENGTH)


def test_the_plain_perplexity_is_that_of_lmsteer(tiny_model: LanguageModel) -> None:
    prompts, continuations = TEXTS, (" and funny.", " that night", "", " to help us then, or later")
    texts = [text or " again" for text in continuations]
    nll, _ = continuation_nll(tiny_model, prompts, texts)
    plain = [continuation_nats(tiny_model, prompt, [text])[0] for prompt, text in zip(prompts, texts, strict=True)]
    assert plain == pytest.approx(nll.tolist(), rel=1e-4)
    both = continuation_nats(tiny_model, prompts[0], texts[:2])
    assert both == pytest.approx([plain[0], continuation_nats(tiny_model, prompts[0], [texts[1]])[0]])


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_the_plain_sampler_is_steered_as_that_of_lmsteer(value: float, tiny_model: LanguageModel, steer: Steer) -> None:
    strength = {"sentiment": value}
    greedy = lmsteer.Greedy(max_new_tokens=8)
    generations = lmsteer.generate(tiny_model, TEXTS, steer=steer, strength=strength, decoding=greedy)
    # A nucleus of 1e-9 holds the likeliest token alone.
    plain = sample_batch(tiny_model, steer, strength, TEXTS, samples=2, p=1e-9, tokens=8)
    assert plain == [generation.texts[0] for generation in generations for _ in range(2)]


def test_drawn_texts_are_of_the_work_and_new_at_each_repeat() -> None:
    items = list(range(10))
    assert sorted(draw(items, 10, seed=0)) == items
    assert draw(items, 4, seed=0) != draw(items, 4, seed=1)
    assert sorted(draw(items, 20, seed=0)) == sorted(items * 2)


def test_prompts_are_repeated_when_the_corpus_has_too_few() -> None:
    corpus = Corpus("toy", (), test=tuple(Row(f"{word} {'and so on ' * 4}", 0.0) for word in ("one", "two", "three")))
    prompts = Work(prompts=7).take_prompts(corpus)
    assert len({prompt.id for prompt in prompts}) == 7
    assert [prompt.text for prompt in prompts[:3]] == [prompt.text for prompt in prompts[3:6]]
    assert len({prompt.text for prompt in prompts}) == 3


def test_peak_memory_is_counted_beyond_the_memory_held_before() -> None:
    meter = Meter(torch.device("cpu"))
    held = torch.ones(25 * 2**20)
    with meter.memory("large"):
        large = torch.ones(75 * 2**20)
    del large
    with meter.memory("none"):
        pass
    assert 295 < meter.peak["large"] < 340
    assert meter.peak["none"] < 40
    assert meter.before > held.nbytes / 2**20


def test_the_picture_draws_the_figures(measured: dict[str, Any]) -> None:
    faster, overhead, scaling = speed_figure(measured).axes
    for axes, names in ((faster, FASTER), (overhead, OVERHEADS)):
        bars = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
        assert [bar.get_width() for bar in bars] == [measured[name]["ratio"] for name in names]
    for line, series in zip(scaling.get_lines(), measured["scaling"].values(), strict=True):
        assert (list(line.get_xdata()), list(line.get_ydata())) == (series["tokens"], series["seconds"])


def test_straightness_is_one_on_a_line_and_less_off_it() -> None:
    assert straightness({"tokens": [1, 2, 3], "seconds": [3, 5, 7]}) == pytest.approx(1)
    # The best line is x / 2 - 1 / 6, off by 1/6, -1/3 and 1/6: a variance of 1/18 out of 2/9.
    assert straightness({"tokens": [0, 1, 2], "seconds": [0, 0, 1]}) == pytest.approx(0.75)


def test_the_tables_hold_the_figures(measured: dict[str, Any]) -> None:
    text = speed_tables(measured)
    for name in FASTER:
        assert f"**{measured[name]['ratio']:.1f}**" in text
    for name in OVERHEADS:
        assert f"**{measured[name]['ratio']:.3f}**" in text
    assert all(len({line.count("|") for line in section.split("\n")}) == 1 for section in text.split("\n\n"))


def test_the_efficiency_row_counts_the_attribute_alone(measured: dict[str, Any]) -> None:
    percent = 100 * 2 * 32 * 4 / measured["model"]["parameters"]
    rows = efficiency_rows(measured)
    assert [row[1:3] for row in rows] == [["256", f"{percent:.3f}"]] * 2
    assert [row[3] for row in rows] == [f"{measured[name]['ratio']:.3f}" for name in OVERHEADS]
    assert "| DExperts" in speed_tables(measured).partition("Published")[2]


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"fit": 1}'])
def test_another_file_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "speed.json").write_text(content)
    with pytest.raises(InputError, match=r"speed\.json"):
        read_speed(tmp_path / "speed.json")
