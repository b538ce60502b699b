"""Promise of a joint fit: sums of several corpora give the steer of the corpora together."""

import torch

from lmsteer.data.features import FeatureExtractor
from lmsteer.models.language_model import LanguageModel
from lmsteer.one_pass.corpus_pass import sum_statistics
from lmsteer.one_pass.natural_gradient import Estimate
from lmsteer.one_pass.one_pass_solver import StepConfig
from lmsteer.one_pass.solver import solve_jointly
from lmsteer.steering.steer_config import SteerConfig

TEXTS = ("the film is warm and funny", "the story is dull and slow", "nobody came to help", "where were you that night")
LABELS = torch.tensor([1.0, -1.0, 1.0, -1.0])
STEP = StepConfig(damping=0.5)


def test_a_joint_steer_is_that_of_all_texts_at_once(tiny_model: LanguageModel) -> None:
    extract = FeatureExtractor(tiny_model)
    halves = [sum_statistics(extract, TEXTS[half], LABELS[half]) for half in (slice(2), slice(2, 4))]
    before = halves[0].context_DD.clone()
    steer = solve_jointly(halves, SteerConfig(name="both", rank=5), STEP)
    p1, p2 = Estimate.from_statistics(sum_statistics(extract, TEXTS, LABELS), STEP).factors(5)
    expected = (p1 @ p2.T).float() / steer.epsilon
    torch.testing.assert_close(steer.matrix(0).detach(), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    assert torch.equal(halves[0].context_DD, before)  # the sums of each corpus serve other combinations, too
