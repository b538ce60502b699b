"""Every method learns from the answers of a corpus of questions, and answers questions."""

import numpy as np
import pytest
import torch
from tests.chat import END, QUESTION, ROWS, TURNS, chat_model
from tests.methods.conftest import METHODS, fit

from lmsteer.data.corpus import Corpus
from lmsteer.data.datamodule import SteerDataModule
from lmsteer.data.text_datamodule import TextDataModule
from lmsteer.generation.decoding import decode
from lmsteer.generation.sampling import Greedy
from lmsteer.methods.layer_vector import _states
from lmsteer.methods.learned_method import FitJob
from lmsteer.models.language_model import LanguageModel
from lmsteer.training.body_module import BodyModule
from lmsteer.training.gradient_solver import GradientSolver
from lmsteer.training.weights import Weights

CORPUS = Corpus("chat", train=ROWS[:12], dev=ROWS[12:])


@pytest.fixture(scope="module")
def chat() -> LanguageModel:
    return chat_model()


@pytest.mark.parametrize("name", list(METHODS))
def test_a_method_learns_from_answers_and_reads_what_it_writes_before_as_a_message_of_the_system(
    name: str, chat: LanguageModel
) -> None:
    fitted = fit(METHODS[name], chat, CORPUS)
    keys, rule = np.zeros(2, np.uint64), Greedy(max_new_tokens=6)
    mixture = fitted.at(chat, {"tone": 1.0})
    written = decode(chat, mixture, [QUESTION, TURNS], keys, rule).ids_BT
    for turns, ids_T in zip((QUESTION, TURNS), written, strict=True):
        assert decode(chat, mixture, [turns], keys[:1], rule).ids_BT.tolist() == [ids_T.tolist()]
        for source in mixture.sources:
            prefixed = turns
            if source.prefix:
                before, spoken = ([turns[0][1]], turns[1:]) if turns[0][0] == "system" else ([], turns)
                prefixed = (("system", "\n\n".join([*before, source.prefix.strip()])), *spoken)
            assert source.encode(turns, 6) == chat.tokenize([chat.chat.text(prefixed)])[0]


def answer_logits(model: LanguageModel) -> list[tuple[torch.Tensor, list[int]]]:
    """Of each row the logits before the tokens of its answer, and these, of a row alone."""
    logits = []
    for row in ROWS:
        before, whole = model.tokenize([model.chat.text(row.turns), model.text(row)])
        assert whole[-1] == model.tokenizer.convert_tokens_to_ids(END)
        logits.append((model.lm(input_ids=torch.tensor([whole])).logits[0, len(before) - 1 : -1], whole[len(before) :]))
    return logits


def test_the_loss_of_a_body_edit_is_that_of_the_tokens_of_answers(chat: LanguageModel) -> None:
    data = TextDataModule(SteerDataModule(CORPUS, chat, dimensions=1))
    module = BodyModule(Weights({"none": torch.zeros(1)}), chat, lambda tensors, label_B: torch.no_grad())
    naive = [
        torch.nn.functional.cross_entropy(z, torch.tensor(ids), reduction="none") for z, ids in answer_logits(chat)
    ]
    torch.testing.assert_close(module.nll(data.batch(ROWS)), torch.cat(naive), rtol=1e-4, atol=1e-4)


def test_states_of_a_layer_are_those_that_predict_the_tokens_of_answers(chat: LanguageModel) -> None:
    job = FitJob(SteerDataModule(CORPUS, chat, dimensions=1), "tone", GradientSolver())
    states_ND = torch.cat([states_LND[0] for row in ROWS for states_LND in _states(job, [row], [1])])
    logits_NV = torch.cat([logits for logits, _ in answer_logits(chat)])
    torch.testing.assert_close(chat.head(chat.lm.base_model.norm(states_ND)), logits_NV, rtol=1e-4, atol=1e-4)
