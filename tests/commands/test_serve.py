"""`python -m src.serve` as its users meet it: requests over HTTP to a process of its own, on a tiny model."""

import json
import random
import signal
import socket
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.handmade_commands import run_command, write_steer
from tests.serving.served import NEW, Served, serving, tone_steer, write_files

import lmsteer
from lmsteer.models.random_models import tiny
from lmsteer.steering.composition import compose
from lmsteer.steering.schedule import CountSchedule, with_schedules
from lmsteer.steering.steer import Steer

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
PROMPTS = ["The film is", "This is not the worst thing", "I would like to know why"]
STRENGTHS: list[dict[str, float]] = [{}, {"tone": 2}, {"tone": -2.5, "dummy": 1}, {"dummy": -1.5}, {"tone": 0.7}]
QUESTION = [{"role": "user", "content": "why is the film dull"}]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def served(files: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server at whose end nothing may be left."""
    steer, gguf = files
    with serving(tmp_path_factory.mktemp("served"), f"steer_file={steer}", f"gguf={gguf}") as served:
        yield served
        served.process.send_signal(signal.SIGINT)
        assert served.process.wait(timeout=30) == 0
        assert not list(served.temporary.iterdir())
        assert (served.temporary.parent / "errors").read_text() == ""
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2])))


@pytest.mark.slow
def test_greedy_answers_are_those_of_generate_at_the_same_strength(served: Served) -> None:
    model, steer = tiny(), tone_steer()
    texts = []
    for strength in STRENGTHS:
        for prompt in PROMPTS:
            (expected,) = lmsteer.generate(
                model, [prompt], steer=steer, strength=strength, decoding=lmsteer.Greedy(max_new_tokens=NEW)
            )
            tokens = served.tokens(COMPLETIONS, {"prompt": prompt, "steer": strength})
            assert model.tokenizer.decode(tokens) == expected.texts[0]
            texts.append(expected.texts[0])
    assert len(set(texts)) > 10


@pytest.mark.slow
@pytest.mark.parametrize("strength", STRENGTHS)
def test_a_stream_and_a_chat_are_steered_as_a_whole_answer_is(served: Served, strength: dict[str, float]) -> None:
    steered = {"steer": strength}
    prompt = json.loads(served.ask("/apply-template", {"messages": QUESTION})[1])["prompt"]
    whole = served.tokens(COMPLETIONS, {"prompt": prompt, **steered})
    assert len(whole) == NEW
    assert served.tokens(COMPLETIONS, {"prompt": prompt, "stream": True, **steered}) == whole
    assert served.tokens(CHAT, {"messages": QUESTION, **steered}) == whole
    assert served.tokens(CHAT, {"messages": QUESTION, "stream": True, **steered}) == whole
    options = {"temperature": 0, "ignore_eos": True, "max_output_tokens": NEW}
    answer = json.loads(served.ask("/v1/responses", {"input": QUESTION[0]["content"], **options, **steered})[1])
    text = json.loads(served.ask("/detokenize", {"tokens": whole})[1])["content"]
    assert answer["output"][-1]["content"][0]["text"] == text


@pytest.mark.slow
def test_requests_at_once_are_each_that_request_alone(served: Served) -> None:
    """More requests than slots, prompts that slots have seen at another strength, greedy and with a seed."""
    draw = random.Random(0)
    requests: list[dict[str, Any]] = [
        {"prompt": prompt, "steer": strength, "temperature": temperature, "seed": seed}
        for prompt in PROMPTS
        for strength in STRENGTHS
        for temperature, seed in ((0, 0), (1.0, 7))
    ]
    draw.shuffle(requests)
    with ThreadPoolExecutor(12) as pool:
        at_once = list(pool.map(lambda request: served.tokens(COMPLETIONS, request), requests))
    draw.shuffle(order := list(range(len(requests))))
    alone = {index: served.tokens(COMPLETIONS, requests[index]) for index in order}
    assert at_once == [alone[index] for index in range(len(requests))]
    assert len({tuple(tokens) for tokens in at_once}) > 20


@pytest.mark.slow
@pytest.mark.parametrize(
    ("route", "request_body", "message"),
    [
        (COMPLETIONS, {"prompt": "I", "steer": {"mood": 3}}, "strength mood=3: the steer's dimensions are tone, dummy"),
        (CHAT, {"messages": QUESTION, "steer": {"tone": "3"}}, 'steer tone="3": a number'),
        (CHAT, b'{"messages": [], "steer": {"tone": NaN}}', "strength tone=nan: a finite float32 number expected"),
        (COMPLETIONS, {"prompt": "I", "lora": [{"id": 0, "scale": 3}]}, "lora: strengths are given by name"),
        (COMPLETIONS, b"prompt=I", "the body of the request is not JSON"),
        ("/v1/messages", {"steer": 3}, "/v1/messages takes no steer; /v1/completions, /v1/chat/completions, /v1/resp"),
    ],
)
def test_a_wrong_request_is_refused_in_one_line(
    served: Served, route: str, request_body: dict[str, Any] | bytes, message: str
) -> None:
    assert served.message(route, request_body).startswith(message)


@pytest.mark.slow
def test_defaults_are_listed_and_cannot_be_changed_by_a_request(served: Served) -> None:
    entries = [{"name": "tone", "meaning": "", "strength": 0.0}, {"name": "dummy", "meaning": "", "strength": 0.0}]
    assert json.loads(served.ask("/v1/steers")[1]) == {"steers": entries}
    assert served.ask("/lora-adapters", b'[{"id": 0, "scale": 9}]')[0] == 403


@pytest.mark.slow
def test_there_is_a_page_and_no_other_page_may_read_answers(served: Served) -> None:
    status, _, headers = served.ask("/")
    assert (status, headers["Content-Type"].partition(";")[0]) == (200, "text/html")
    for route, body in (("/", None), ("/v1/models", None), (COMPLETIONS, {"prompt": "I", "max_tokens": 1})):
        _, _, headers = served.ask(route, body)
        assert not [name for name in headers if name.lower().startswith("access-control")]


@pytest.mark.slow
def test_two_steers_add_defaults_hold_where_a_request_gives_none_and_a_key_is_asked_for(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    steer, gguf = files
    second = tone_steer("mood", "dummy", seed=2)
    other = write_steer(tmp_path / "other.safetensors", second, meaning={"mood": "cheer <b>"})
    options = [f"steer_file=[{steer},{other}]", f"gguf={gguf}", "strength={dummy: 1}"]
    with serving(tmp_path, *options, environment={"LLAMA_API_KEY": "not-told"}) as served:
        assert served.ask(COMPLETIONS, {"prompt": "I"})[0] == 401
        asked = Served(served.url, served.process, served.temporary, key="not-told")
        entries = json.loads(asked.ask("/v1/steers")[1])["steers"]
        assert [(entry["name"], entry["strength"]) for entry in entries] == [("tone", 0), ("mood", 0), ("dummy", 1)]
        assert entries[1]["meaning"] == "cheer <b>"
        model, both, texts = tiny(), compose([tone_steer(), second]), set()
        for given in ({}, {"tone": 2}, {"dummy": 0}, {"tone": -1, "mood": 2}, {"mood": 2, "dummy": -0.5}):
            (expected,) = lmsteer.generate(
                model,
                PROMPTS[:1],
                steer=both,
                strength={"dummy": 1, **given},
                decoding=lmsteer.Greedy(max_new_tokens=NEW),
            )
            tokens = asked.tokens(COMPLETIONS, {"prompt": PROMPTS[0], "steer": given})
            assert model.tokenizer.decode(tokens) == expected.texts[0]
            texts.add(expected.texts[0])
        assert len(texts) == 5
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(timeout=30) == 0
        assert not list(served.temporary.iterdir())
        assert "not-told" not in (tmp_path / "errors").read_text()


def refused(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """The one line of a server that does not start."""
    assert run_command("serve", "model=tiny", "threads=1", *options) == 1
    out, err = capsys.readouterr()
    assert out == ""
    lines = [line for line in err.splitlines() if not line.startswith("memory:")]
    assert len(lines) == 1
    return lines[0].removeprefix("Error: ")


def test_steers_that_adapters_cannot_hold_are_refused(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gguf = f"gguf={files[1]}"
    scheduled = with_schedules(tone_steer("tone"), {"tone": CountSchedule(unit="words", begin=10)})
    path = write_steer(tmp_path / "scheduled.safetensors", scheduled)
    line = refused(capsys, f"steer_file={path}", gguf, "port=0")
    assert line.startswith(f"{path}: the strength of tone follows a schedule, which no engine does")
    constant = tone_steer("tone", bias=True)
    constant.bias.data += 1  # type: ignore[union-attr]
    path = write_steer(tmp_path / "constant.safetensors", constant)
    assert "dimension tone has a constant part" in refused(capsys, f"steer_file={path}", gguf, "port=0")
    path = write_steer(tmp_path / "other.safetensors", Steer(32, dimensions=["tone"], rank=2), fingerprint="f")
    line = refused(capsys, f"steer_file={path}", gguf, "port=0")
    assert "other.safetensors: fitted for model" in line
    both = f"steer_file=[{files[0]},{path}]"
    assert "both have the dimension tone; compose names=[…]" in refused(capsys, both, gguf, "port=0")
    path = write_steer(path, Steer(32, dimensions=["mood"], rank=2), fingerprint="f")
    assert "steers of one model expected" in refused(capsys, both, gguf, "port=0")


def test_a_port_or_host_that_is_not_to_be_had_is_refused(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    steer, gguf = files
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refused(capsys, f"steer_file={steer}", f"gguf={gguf}", f"port={port}")
    assert line.startswith(f"host=127.0.0.1, port={port}: Address already in use")
    for host in ("no.such.host.invalid", "a..b", "203.0.113.7"):
        line = refused(capsys, f"steer_file={steer}", f"gguf={gguf}", f"host={host}", "port=0")
        assert line.startswith(f"host={host}, port=0: ")


def test_a_gguf_file_of_anything_else_is_refused(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    given = f"steer_file={files[0]}"
    assert "gguf=MODEL.gguf expected" in refused(capsys, given, "port=0")
    (tmp_path / "half.gguf").write_bytes(files[1].read_bytes()[:3000])
    assert "not a whole GGUF file" in refused(capsys, given, f"gguf={tmp_path / 'half.gguf'}", "port=0")
    line = refused(capsys, given, f"gguf={files[1]}", "port=0", "model.seed=1")
    assert "a steer serves only the model it was fitted on" in line
    assert not list((tmp_path / "temporary").iterdir())


def test_a_default_strength_that_is_none_and_options_of_questions_are_refused(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    given = [f"steer_file={files[0]}", f"gguf={files[1]}", "port=0"]
    assert refused(capsys, *given, "strength={mood: 1}").startswith("strength mood=1.0: the steer's dimensions are")
    for option in ("model.system=Be kind", "model.chat=off"):
        assert refused(capsys, *given, option).startswith(f"{option}: requests decide it here")
    assert run_command("serve", *given, "model=smollm2", "model.quantization=4bit") == 1
    assert capsys.readouterr().err == "Error: model.quantization=4bit: the GGUF file decides it here; leave it out\n"
    assert refused(capsys, *given, "strength=inf").startswith("strength tone=inf: a finite float32 number")
