"""A run of the paper's size says before it begins how much smaller the quick one is."""

import pytest
from tests.handmade_commands import run_command


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["steer=detox", "size=paper"], ["hours", "nontoxic 10,000 instead of 300", "about 1/33"]),
        (["steer=sentiment", "size=paper"], ["hours", "neutral all prompts instead of 200"]),
        (["steer=detox", "size=paper", "protocol.prompts.nontoxic.n=20"], []),
        (["steer=detox", "size=quick"], []),
    ],
)
def test_the_papers_size_is_announced(
    options: list[str], expected: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmsteer.commands.train.launch", lambda job, config: None)
    assert run_command("train", "model=tiny", *options, "hydra.run.dir=unused") == 0
    err = capsys.readouterr().err
    assert all(words in err for words in expected)
    assert bool(expected) == ("size=paper takes" in err)
