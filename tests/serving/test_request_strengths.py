"""Strengths by name become scales of adapters, and what is no strength is refused in one line."""

import json
from typing import Any

import pytest

from lmsteer.errors import InputError
from lmsteer.serving.request_strengths import STEERED_ROUTES, RequestStrengths
from lmsteer.steering.steer import Steer

STRENGTHS = RequestStrengths({"tone": 0.0, "dummy": 1.0})
ROUTE = "/v1/chat/completions"


def scales(body: dict[str, Any], route: str = ROUTE) -> list[float]:
    """Scales in the order of the adapters; the rest of the request is as it was."""
    translated = json.loads(STRENGTHS.translate(route, json.dumps(body).encode()))
    lora = translated.pop("lora")
    assert translated == {name: value for name, value in body.items() if name != "steer"}
    assert [entry["id"] for entry in lora] == [0, 1]
    return [entry["scale"] for entry in lora]


@pytest.mark.parametrize("route", STEERED_ROUTES)
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, [0.0, 1.0]),
        ({"steer": None}, [0.0, 1.0]),
        ({"steer": {}}, [0.0, 1.0]),
        ({"steer": {"tone": -3}}, [-3.0, 1.0]),
        ({"steer": {"dummy": 0}}, [0.0, 0.0]),
        ({"steer": {"dummy": 2.5, "tone": 1e-3}}, [1e-3, 2.5]),
        ({"steer": 5}, [5.0, 1.0]),
    ],
)
def test_strengths_by_name_are_scales_and_the_others_keep_their_defaults(
    route: str, given: dict[str, Any], expected: list[float]
) -> None:
    assert scales({"prompt": "I \ud83d", "stream": True, **given}, route) == expected


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"steer": {"mood": 3}}', "strength mood=3: the steer's dimensions are tone, dummy"),
        ('{"steer": {"tone": "3"}}', 'steer tone="3": a number or {name: number, …} expected'),
        ('{"steer": {"tone": true}}', "steer tone=true: a number"),
        ('{"steer": {"tone": null}}', "steer tone=null: a number"),
        ('{"steer": {"tone": [3]}}', r"steer tone=\[3\]: a number"),
        ('{"steer": [3]}', r"steer tone=\[3\]: a number"),
        ('{"steer": false}', "steer tone=false: a number"),
        ('{"steer": {"tone": NaN}}', "strength tone=nan: a finite float32 number expected"),
        ('{"steer": {"tone": -Infinity}}', "strength tone=-inf: a finite"),
        ('{"steer": {"tone": 1e39}}', "strength tone=1e[+]39: a finite"),
        ('{"steer": {"tone": 1' + "0" * 400 + "}}", "strength tone=10+: a finite"),
        ('{"lora": [{"id": 0, "scale": 1}]}', "lora: strengths are given by name"),
        ('{"steer": 3', "the body of the request is not JSON"),
        ("[" * 100_000, "the body of the request is not JSON"),
    ],
)
def test_what_is_no_strength_is_refused_in_one_line(body: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}") as caught:
        STRENGTHS.translate(ROUTE, body.encode())
    assert "\n" not in str(caught.value)


def test_other_routes_are_passed_on_unless_they_would_ignore_a_strength() -> None:
    for body in (b'{"content": "the steer"}', b"", b"\xff", b"[1]"):
        assert STRENGTHS.translate("/tokenize", body) == body
    routes = "/v1/completions, /v1/chat/completions, /v1/responses"
    with pytest.raises(InputError, match=f"^/v1/messages takes no steer; {routes} do$"):
        STRENGTHS.translate("/v1/messages", b'{"steer": 3}')


def test_defaults_are_strengths_of_the_steer() -> None:
    steer = Steer(8, dimensions=["tone", "dummy"], rank=2)
    assert RequestStrengths.of(steer, {"dummy": 1}).defaults == {"tone": 0.0, "dummy": 1.0}
    with pytest.raises(InputError, match="strength mood=1: the steer's dimensions are tone, dummy"):
        RequestStrengths.of(steer, {"mood": 1})
