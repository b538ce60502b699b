"""Files from elsewhere are declared by what needs them."""

from lmsteer.storage.required_files import required_by, requires


def test_the_options_decide_what_is_needed_and_who_declares_nothing_needs_nothing() -> None:
    @requires(lambda *, path=None, **_: [] if path else ["published"])  # type: ignore[arg-type, list-item]
    class Prompts:
        pass

    assert required_by(Prompts, {"path": None, "n": 3}) == ["published"]
    assert required_by(Prompts, {"path": "mine.jsonl"}) == []
    assert required_by(dict, {"path": None}) == []
