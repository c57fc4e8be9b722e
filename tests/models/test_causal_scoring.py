"""Log-likelihoods against a loop over tokens."""

import numpy as np
import pytest
import torch

from glmstore.errors import EmptySequenceError, ScorerError
from glmstore.models import FAMILIES, get_model
from glmstore.models.architectures.language_model import LanguageModel
from glmstore.models.causal_scoring import log_likelihood

CAUSAL = ["generator", "llama-char", "mistral-dna"]
SEQUENCES = ["ACGTTGCAACATTGCAGGT", "GATTACAGATTA", "ACGTNACGTTTGACCAGT" * 3, "TTTTTT", "ACGNNACGTACG"]


def by_loop(model: LanguageModel, sequence: str) -> float:
    """One sequence alone, one token after the other, each from a pass over what lies before it."""
    ids = model.encode([sequence]).ids[0]
    special = model.encode([sequence]).special_mask[0]
    total = 0.0
    for t in range(1, len(ids)):
        if special[t] or not model.tokenizer.strings[int(ids[t])]:
            continue
        *_, last = model.network.states(ids[None, :t], None)
        total += float(model.network.logits(last)[0, -1].double().log_softmax(0)[ids[t]])
    return total


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_it_is_the_sum_over_tokens_of_each_given_those_before(name: str, batch_size: int) -> None:
    model = FAMILIES[name].tiny_model()
    found = log_likelihood(model, SEQUENCES, batch_size=batch_size)
    assert found.dtype == np.float64
    with torch.inference_mode():
        expected = [by_loop(model, s) for s in SEQUENCES]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert (found < 0).all()


def test_without_a_beginning_the_first_letter_is_not_scored() -> None:
    from dataclasses import replace

    family = FAMILIES["llama-char"]
    bare = replace(family, tiny={**family.tiny, "prefix": []}).tiny_model()
    assert log_likelihood(bare, ["A"])[0] == 0
    assert log_likelihood(family.tiny_model(), ["A"])[0] < 0


def test_one_letter_more_adds_its_own_log_probability() -> None:
    model = FAMILIES["llama-char"].tiny_model()
    with torch.inference_mode():
        *_, last = model.network.states(model.encode(["ACGTTG"]).ids, None)
        p = model.network.logits(last)[0, -1].log_softmax(0)
    for letter in "ACGTN":
        shorter, longer = log_likelihood(model, ["ACGTTG", "ACGTTG" + letter])
        assert longer - shorter == pytest.approx(float(p[model.tokenizer.strings.index(letter)]), abs=1e-5)


def test_it_is_fp32_whatever_autocast_is_active() -> None:
    model = FAMILIES["mistral-dna"].tiny_model()
    exact = log_likelihood(model, SEQUENCES)
    with torch.autocast("cpu", torch.bfloat16):
        assert (log_likelihood(model, SEQUENCES) == exact).all()


def test_a_masked_model_is_refused_by_name() -> None:
    with pytest.raises(ScorerError, match=r"rand_init:gpn-mini:0 .*objective mlm"):
        log_likelihood(get_model("rand_init:gpn-mini:0").load("cpu"), ["ACGT"])


def test_an_empty_sequence_is_refused() -> None:
    with pytest.raises(EmptySequenceError):
        log_likelihood(FAMILIES["llama-char"].tiny_model(), ["ACGT", ""])
