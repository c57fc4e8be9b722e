"""The numbers on the shipped model card are those of the shipped weights."""

from pathlib import Path

import numpy as np
import pytest

from glmstore.models import get_model, gpn_mini
from glmstore.models.architectures.language_model import LanguageModel
from glmstore.models.gpn import CARD, WEIGHTS, read_card
from glmstore.pretraining import HoldOut, heldout, markov
from glmstore.pretraining.card import render
from glmstore.pretraining.config import HeldOutScores
from glmstore.pretraining.corpus import load_corpus

FOLDER = Path(gpn_mini.__file__).parent / "weights" / "gpn-mini"


def test_weights_are_small_enough_to_ship():
    assert (FOLDER / WEIGHTS).stat().st_size <= 5_000_000


def test_the_card_is_the_record_in_words():
    model = get_model("gpn-mini").load("cpu")
    assert isinstance(model, LanguageModel)
    assert (FOLDER / CARD).read_text() == render(read_card(FOLDER), model.network.config)


def test_it_says_which_chromosome_it_has_seen():
    stretches = read_card(FOLDER)["corpus"]["heldout_regions"]
    seen = get_model("gpn-mini").spec.pretraining
    assert seen is not None
    assert {s.split(":")[0] for s in stretches} == set(seen.chromosomes or ())


@pytest.mark.mirror
@pytest.mark.slow
def test_held_out_scores_can_be_computed_again(mirror: Path):
    record = read_card(FOLDER)
    scores, recipe = HeldOutScores(**record["heldout"]), record["recipe"]
    corpus = load_corpus(mirror / "derived" / record["corpus"]["file"], HoldOut(**recipe["holdout"]))
    facts = {"description": record["corpus"]["description"], **corpus.facts.model_dump(mode="json")}
    assert facts == record["corpus"]

    windows = heldout.windows(corpus.heldout)
    masked = heldout.mask_at_random(windows, recipe["mask_fraction"], recipe["seed"])
    assert int(masked.hidden.sum()) == scores.masked15_positions
    rows, columns = np.nonzero(masked.hidden)
    flank3 = markov.ContextModel.fit([p.ids for p in corpus.train], (-3, -2, -1, 1, 2, 3))
    assert flank3.nll(windows, rows, columns).mean() == pytest.approx(scores.masked15["flank3"], abs=1e-9)

    model = get_model("gpn-mini").load("cpu")
    assert isinstance(model, LanguageModel)
    first = heldout.MaskedWindows(windows[: scores.slice_windows], masked.hidden[: scores.slice_windows])
    assert heldout.model_nll(model.network, first).mean() == pytest.approx(scores.slice_nll, abs=1e-4)
