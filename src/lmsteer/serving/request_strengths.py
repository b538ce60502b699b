"""Strengths by name in a request to the server, which llama.cpp takes as a scale for each adapter."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lmsteer.errors import InputError
from lmsteer.steering.dimensions import check_strengths
from lmsteer.steering.steer import Steer

STEER, LORA = "steer", "lora"
"""Fields of a request: strengths by name, and what llama.cpp takes instead."""
STEERED_ROUTES = (
    *("/v1/completions", "/v1/chat/completions", "/v1/responses"),
    *("/completion", "/completions", "/chat/completions", "/responses"),
)
"""Routes of llama.cpp that take a scale for each adapter; that of Anthropic's API is none of them."""


@dataclass(frozen=True)
class RequestStrengths:
    """Find the strengths of a request: those that it gives by name, and the defaults of the other dimensions.

    Attributes:
        defaults: Strength by dimension, in the order of the adapters.

    Example:
        >>> strengths = RequestStrengths({"sentiment": 0.0, "detox": 1.0})
        >>> strengths.translate("/v1/completions", b'{"prompt": "I", "steer": {"sentiment": -3}}')
        b'{"prompt": "I", "lora": [{"id": 0, "scale": -3.0}, {"id": 1, "scale": 1.0}]}'
    """

    defaults: Mapping[str, float]

    @classmethod
    def of(cls, steer: Steer, strength: Mapping[str, float]) -> "RequestStrengths":
        """Build them from a steer and the strengths that hold where a request gives none; the others are 0.

        Raises:
            InputError: If a name is not a dimension of the steer, or a value is not finite.
        """
        check_strengths(strength, steer.dimensions)
        return cls({name: float(strength.get(name, 0.0)) for name in steer.dimensions})

    def translate(self, route: str, body: bytes) -> bytes:
        """Return the body of a request as llama.cpp takes it.

        Args:
            route: Path of the request.
            body: JSON of the request; ``steer`` in it is ``{name: number, …}``, or a number for the first dimension.

        Raises:
            InputError: If the request names strengths that are unknown or not finite, gives ``lora``, or gives
                strengths to a route that takes none.
        """
        is_steered = route in STEERED_ROUTES
        try:
            request: Any = json.loads(body)
        except (ValueError, RecursionError) as error:
            if not is_steered:
                return body
            raise InputError(f"the body of the request is not JSON ({error})") from error
        if not isinstance(request, dict):
            return body  # llama.cpp refuses it
        if not is_steered:
            if STEER in request:
                raise InputError(f"{route} takes no {STEER}; {', '.join(STEERED_ROUTES[:3])} do")
            return body
        if LORA in request:
            raise InputError(f'{LORA}: strengths are given by name, "{STEER}": {{"{self._first}": 3}}')
        strength = {**self.defaults, **self._named(request.pop(STEER, None))}
        request[LORA] = [{"id": index, "scale": float(strength[name])} for index, name in enumerate(self.defaults)]
        return json.dumps(request).encode()

    @property
    def _first(self) -> str:
        return next(iter(self.defaults))

    def _named(self, entry: object) -> dict[str, float]:
        """Return the strengths that a request gives, by name."""
        if entry is None:
            return {}
        strengths: dict[str, float] = {}
        for name, value in (entry if isinstance(entry, dict) else {self._first: entry}).items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                shown = json.dumps(value)[:80]
                raise InputError(f"{STEER} {name}={shown}: a number or {{name: number, …}} expected")
            strengths[name] = value
        check_strengths(strengths, tuple(self.defaults))
        return strengths
