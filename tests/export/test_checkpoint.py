"""Promises of a written checkpoint, on every architecture: transformers alone loads the steered model."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    PreTrainedModel,
)

from lmsteer.errors import InputError
from lmsteer.export import checkpoint
from lmsteer.export.checkpoint import next_tokens, write_checkpoint
from lmsteer.generation.generator import Generator
from lmsteer.generation.sampling import Greedy
from lmsteer.models.language_model import LanguageModel
from lmsteer.models.load import load_model
from lmsteer.models.random_models import tiny
from lmsteer.records import Prompt
from lmsteer.steering.fold import fold
from lmsteer.steering.steer import Steer

IDS = torch.tensor([[5, 17, 3, 260, 99], [7, 7, 301, 12, 1]])
MASK = torch.ones_like(IDS)
STRENGTH = torch.tensor([3.0, -1.0])


def logits(lm: PreTrainedModel) -> Tensor:
    with torch.no_grad():
        return lm(input_ids=IDS, attention_mask=MASK).logits.float()


def written(folder: Path, model: LanguageModel, steer: Steer) -> PreTrainedModel:
    """What transformers loads."""
    write_checkpoint(folder, model, fold(model.head, steer, STRENGTH))
    return AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()


def test_transformers_loads_the_steered_model_and_not_the_plain_one(
    model: LanguageModel, steer: Steer, tmp_path: Path
) -> None:
    loaded = written(tmp_path, model, steer)
    with steer.apply(model.lm, STRENGTH[None]) as lm:
        steered = logits(lm)
    torch.testing.assert_close(logits(loaded), steered, rtol=0, atol=1e-4)
    assert (logits(loaded) - logits(model.lm)).abs().max() > 0.1


def test_its_greedy_continuations_are_those_of_ours(model: LanguageModel, steer: Steer, tmp_path: Path) -> None:
    loaded = written(tmp_path, model, steer)
    texts = ["The film is", "I would like to know", "a"]
    prompts = [Prompt(text, text) for text in texts]
    generator = Generator(model, prompts, decoding=Greedy(max_new_tokens=8))
    ours = {
        g.prompt.id: g.texts[0] for batch in generator.run([{"sentiment": 3.0, "dummy": -1.0}], steer) for g in batch
    }
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    barred = [tokenizer.eos_token_id, *range(model.head.vocabulary, len(model.head.weight))]
    for text in texts:
        read = tokenizer(text, return_tensors="pt")
        rows = loaded.generate(**read, do_sample=False, min_new_tokens=8, max_new_tokens=8, suppress_tokens=barred)
        assert tokenizer.decode(rows[0, read["input_ids"].shape[1] :]) == ours[text]


def test_the_model_in_memory_stays_as_it_is(model: LanguageModel, steer: Steer, tmp_path: Path) -> None:
    before, config = {name: tensor.clone() for name, tensor in model.lm.state_dict().items()}, model.lm.config.to_dict()
    shared = model.lm.get_input_embeddings().weight is model.lm.get_output_embeddings().weight
    write_checkpoint(tmp_path, model, fold(model.head, steer, STRENGTH))
    assert shared == (model.lm.get_input_embeddings().weight is model.lm.get_output_embeddings().weight)
    assert model.lm.config.to_dict() == config
    after = model.lm.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_only_the_output_embeddings_are_other_and_they_are_not_shared(
    model: LanguageModel, steer: Steer, tmp_path: Path
) -> None:
    loaded = written(tmp_path, model, steer)
    assert loaded.config.tie_word_embeddings is False
    head = loaded.get_output_embeddings()
    assert torch.equal(head.weight, fold(model.head, steer, STRENGTH).weight)
    assert len(head.weight) == model.lm.config.vocab_size, "padded rows are kept"
    assert (head.bias is None) == (model.head.bias is None)
    read, meant = loaded.state_dict(), model.lm.state_dict()
    same = [name for name in meant if torch.equal(read[name], meant[name])]
    assert len(same) == len(meant) - 1


def test_a_text_model_inside_another_configuration_is_untied_in_both(steer: Steer, tmp_path: Path) -> None:
    text = {"vocab_size": 384, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 8}
    text |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 28, "patch_size": 14}
    torch.manual_seed(0)
    lm = Gemma3ForConditionalGeneration(Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4))
    loaded = written(tmp_path, LanguageModel(lm, tiny().tokenizer, name="gemma"), steer)
    assert loaded.config.tie_word_embeddings is loaded.config.text_config.tie_word_embeddings is False
    with steer.apply(lm, STRENGTH[None]):
        steered = logits(lm)
    torch.testing.assert_close(logits(loaded), steered, rtol=0, atol=1e-4)


def test_the_file_has_the_precision_of_the_model(steer: Steer, tmp_path: Path) -> None:
    loaded = written(tmp_path, tiny(dtype="bfloat16"), steer)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}


def test_it_is_a_model_of_ours_too_and_holds_no_path(steer: Steer, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    write_checkpoint(first, tiny(), fold(tiny().head, steer, STRENGTH))
    model = load_model(str(first), device="cpu", dtype="float32")
    write_checkpoint(second, model, fold(model.head, steer, STRENGTH))
    files = [path.read_bytes() for path in second.iterdir()]
    assert files
    assert not any(str(tmp_path).encode() in content for content in files)


def test_a_checkpoint_that_is_read_back_otherwise_is_refused(
    steer: Steer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny()
    monkeypatch.setattr(checkpoint, "_with_head", lambda lm, head: lm)  # as if the head were shared all the same
    with pytest.raises(InputError, match=r"tiny-0 .*reads back other output embeddings, logits than were written"):
        write_checkpoint(tmp_path, model, fold(model.head, steer, STRENGTH))


def test_a_body_that_is_read_back_otherwise_is_refused(
    steer: Steer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, honest = tiny(), checkpoint._with_head

    def damaged(*arguments: object) -> PreTrainedModel:
        lm = honest(*arguments)  # type: ignore[arg-type]
        lm.model.norm.weight = nn.Parameter(lm.model.norm.weight * 1.01)
        return lm

    monkeypatch.setattr(checkpoint, "_with_head", damaged)
    with pytest.raises(InputError, match="reads back other logits than"):
        write_checkpoint(tmp_path, model, fold(model.head, steer, STRENGTH))


def test_what_transformers_does_not_write_is_refused_in_one_line(steer: Steer, tmp_path: Path) -> None:
    model = tiny()
    model.lm.generation_config.temperature = 0.5  # without sampling, which transformers refuses to write
    with pytest.raises(InputError, match="tiny-0: cannot be written as a checkpoint") as caught:
        write_checkpoint(tmp_path, model, fold(model.head, steer, STRENGTH))
    assert "\n" not in str(caught.value)


def test_next_tokens_are_the_likeliest_with_log_probabilities_of_both_heads(
    tiny_model: LanguageModel, steer: Steer
) -> None:
    head = fold(tiny_model.head, steer, STRENGTH)
    ids, tokens = next_tokens(tiny_model, head, "The film is", count=3)
    assert tiny_model.tokenizer.decode(ids) == "The film is"
    inputs = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
    with torch.no_grad():
        plain = tiny_model.lm(**inputs).logits[0, -1].double()
        with steer.apply(tiny_model.lm, STRENGTH[None]) as lm:
            steered = lm(**inputs).logits[0, -1].double()
    ranked = sorted(range(384), key=lambda token: -float(steered[token]))
    assert [token.id for token in tokens] == ranked[:3]
    for token in tokens:
        assert token.steered == pytest.approx(float(steered[token.id] - steered.exp().sum().log()), abs=1e-3)
        assert token.plain == pytest.approx(float(plain[token.id] - plain.exp().sum().log()), abs=1e-3)
        assert token.text == tiny_model.tokenizer.decode([token.id])
