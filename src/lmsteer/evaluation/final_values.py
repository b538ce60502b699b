"""Name the values of a result, for loggers and sweepers."""

from collections.abc import Mapping

from lmsteer.evaluation.results import Result


def final_values(result: Result) -> dict[str, float]:
    """Name the values of a result ``metric/setting``, and its costs ``cost/NAME/setting``; see ``setting_name``."""
    has_sets = len({row.prompts for row in result.rows}) > 1
    values: dict[str, float] = {}
    for row in result.rows:
        setting = setting_name(row.strength, row.budget, row.prompts if has_sets else "")
        values |= {f"{metric}/{setting}": value.value for metric, value in row.metrics.items()}
        cost = row.cost.model_dump(exclude_none=True) if row.cost else {}
        values |= {f"cost/{name}/{setting}": float(value) for name, value in cost.items()}
    return values


def setting_name(strength: Mapping[str, float], budget: str = "", prompts: str = "") -> str:
    """Name a setting: a strength, or a budget with its direction, after a prompt set if one is given.

    Example:
        >>> setting_name({"tone": -5.0}), setting_name({"tone": 3.2}, "kl 0.3", "own"), setting_name({})
        ('tone-5', 'own/+ kl 0.3', 'plain')
    """
    sign = "-" if min(strength.values(), default=0.0) < 0 else "+"
    words = ",".join(f"{name}{value:+g}" for name, value in strength.items()) or "plain"
    # Calibrated strengths differ between seeds.
    return (f"{prompts}/" if prompts else "") + (f"{sign} {budget}" if budget else words)
