"""What identifies a run: not options that older versions lack, while they are unset; of a folder only its steer."""

from pathlib import Path

from omegaconf import OmegaConf
from tests.cli.test_configuration import checked

from lmsteer.cli.identity import input_files, run_identity


def test_younger_options_of_a_file_identify_a_run_only_where_they_are_set() -> None:
    file = ["corpus=file", "corpus.path=some.tsv"]
    identity = OmegaConf.create(run_identity(checked("train", *file)))
    for corpus in (identity.corpus, identity.protocol.prompts.own.corpus):
        assert set(corpus) == {"_target_", "path", "text", "label"}
    other = OmegaConf.create(run_identity(checked("train", *file, "corpus.labels={good: 1, bad: -1}")))
    assert other.corpus.labels == {"good": 1, "bad": -1}


def test_a_folder_of_a_steer_is_identified_by_the_steer_alone(tmp_path: Path) -> None:
    (tmp_path / "steer.safetensors").write_bytes(b"the steer")
    (tmp_path / "metrics.json").write_text("another run may change it")
    expected = [("steer_file", tmp_path / "steer.safetensors")]
    assert list(input_files({"steer_file": str(tmp_path), "cache": str(tmp_path)})) == expected
