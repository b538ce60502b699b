"""Send many requests of mixed strengths to a running server, one after the other and at once, and compare the answers.

python -m src.serve steer_file=RUN/steer.safetensors                    # in another terminal
python -m experiments.export.load_test url=http://127.0.0.1:8080 prompts.n=40
"""

import json
import random
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from experiments.study import Results, open_run, run_study
from lmsteer.cli.app import entry_point
from lmsteer.cli.configuration import build
from lmsteer.reporting.text import markdown_table, number
from lmsteer.serving.steer_proxy import STEERS_ROUTE

TYPES: dict[str, Any] = {
    "url": str,
    "requests": int,
    "at_once": int,
    "drawn_strengths": list[float],
    "max_tokens": int,
}
TIMEOUT = 600
KINDS = ("greedy", "seeded")
"""Requests at temperature 0, and with a seed of their own at temperature 1."""


@dataclass(frozen=True)
class Request:
    """One request, and whether its answer is streamed."""

    route: str
    body: dict[str, Any]
    kind: str


@dataclass(frozen=True)
class Answer:
    """Tokens of an answer, with the gap in nats between the two likeliest ones at each."""

    tokens: list[int] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)


def load_test(cfg: DictConfig) -> Results:
    """Write ``load_test.json`` and ``load_test.md`` in the run folder; print their paths."""
    config, run = open_run(cfg, TYPES)

    def compute() -> Results:
        prompts = [prompt.text for prompt in build(config["prompts"])().prompts]
        requests = draw_requests(config, prompts, names(config["url"]))
        started = time.perf_counter()
        alone = [ask(config["url"], request) for request in requests]
        halfway = time.perf_counter()
        with ThreadPoolExecutor(config["at_once"]) as pool:
            at_once = list(pool.map(lambda request: ask(config["url"], request), requests))
        seconds = {"alone": halfway - started, "at_once": time.perf_counter() - halfway}
        return {
            "options": {name: config[name] for name in ("requests", "at_once", "drawn_strengths", "max_tokens")},
            "strengths": len({json.dumps(request.body["steer"]) for request in requests}),
            "answers": len({json.dumps(asdict(answer)["tokens"]) for answer in alone}),
            "tokens": sum(len(answer.tokens) for answer in alone),
            "seconds": seconds,
            "same": {kind: same(requests, alone, at_once, kind) for kind in KINDS},
            "different": differences(requests, alone, at_once),
        }

    return run_study(run, "load_test", compute, report=load_table)


def draw_requests(config: dict[str, Any], prompts: Sequence[str], dimensions: Sequence[str]) -> list[Request]:
    """Draw prompts, a strength for each dimension, routes, sampling and streaming."""
    draw, requests = random.Random(config["seed"]), []
    for index in range(config["requests"]):
        prompt, kind = draw.choice(prompts), KINDS[index % len(KINDS)]
        body = {
            "steer": {name: draw.choice(config["drawn_strengths"]) for name in dimensions},
            "max_tokens": config["max_tokens"],
            "temperature": 0 if kind == "greedy" else 1,
            "seed": index,
            "stream": draw.random() < 0.5,
            "n_probs": 2,
        }
        if draw.random() < 0.5:
            requests.append(Request("/v1/completions", {"prompt": prompt, **body}, kind))
        else:
            messages = [{"role": "user", "content": prompt}]
            requests.append(Request("/v1/chat/completions", {"messages": messages, **body}, kind))
    return requests


def names(url: str) -> list[str]:
    """Return the dimensions that a server steers."""
    with urllib.request.urlopen(url + STEERS_ROUTE, timeout=TIMEOUT) as answer:
        return [entry["name"] for entry in json.load(answer)["steers"]]


def ask(url: str, request: Request) -> Answer:
    """Send one request and wait for the whole answer."""
    headers = {"Content-Type": "application/json"}
    sent = urllib.request.Request(url + request.route, data=json.dumps(request.body).encode(), headers=headers)
    with urllib.request.urlopen(sent, timeout=TIMEOUT) as answer:
        text = answer.read().decode()
    events = [line.removeprefix("data: ") for line in text.splitlines() if line] if request.body["stream"] else [text]
    result = Answer()
    for event in events:
        for choice in json.loads(event)["choices"] if event != "[DONE]" else ():
            for token in (choice.get("logprobs") or {}).get("content") or ():
                first, second = sorted((top["logprob"] for top in token["top_logprobs"]), reverse=True)
                result.tokens.append(token["id"])
                result.gaps.append(first - second)
    return result


def same(requests: Sequence[Request], alone: Sequence[Answer], at_once: Sequence[Answer], kind: str) -> list[int]:
    """Return how many answers of a kind are the same at once, and how many there are."""
    pairs = [(a, b) for request, a, b in zip(requests, alone, at_once, strict=True) if request.kind == kind]
    return [sum(a.tokens == b.tokens for a, b in pairs), len(pairs)]


def differences(requests: Sequence[Request], alone: Sequence[Answer], at_once: Sequence[Answer]) -> list[Results]:
    """Return where answers begin to differ, and how near the two likeliest tokens were there."""
    differences = []
    for index, (request, a, b) in enumerate(zip(requests, alone, at_once, strict=True)):
        if a.tokens != b.tokens:
            pairs = enumerate(zip(a.tokens, b.tokens, strict=False))
            position = next((k for k, (x, y) in pairs if x != y), min(len(a.tokens), len(b.tokens)))
            gap = a.gaps[position] if position < len(a.gaps) else None
            differences.append({"request": index, "kind": request.kind, "token": position, "gap": gap})
    return differences


def load_table(results: Results) -> str:
    """Write the content of load_test.json as a Markdown table."""
    options, seconds = results["options"], results["seconds"]
    rows = [[f"the same answer at once as alone, {kind}", "{} of {}".format(*results["same"][kind])] for kind in KINDS]
    rows += [
        ["combinations of strengths; distinct answers", f"{results['strengths']}; {results['answers']}"],
        ["seconds, one after the other", number(seconds["alone"])],
        [f"seconds, {options['at_once']} at once", number(seconds["at_once"])],
        ["tokens per second, the same", ", ".join(number(results["tokens"] / value) for value in seconds.values())],
    ]
    return markdown_table([f"{options['requests']} requests", ""], rows)


if __name__ == "__main__":
    entry_point("load_test", Path(__file__).parent, TYPES)(load_test)()
