"""Check a model: its architecture on tiny weights, and its real weights where they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from pydantic import Field, ValidationError

from glmstore.config import Frozen
from glmstore.errors import GlmstoreError, WeightsError
from glmstore.models import known_answers
from glmstore.models.base import GenomicLM, ModelEntry
from glmstore.models.checkpoints.advice import how_to_get
from glmstore.models.checkpoints.fitting import own_architecture, require_weights_of_its_own
from glmstore.models.checkpoints.presence import require, shipped_folder, verify
from glmstore.models.checkpoints.source import Fingerprint, folder_of, in_a_line, read_record, write_record
from glmstore.models.checkpoints.vocabulary import vocabulary_fits
from glmstore.models.tf32 import exact_float32

if TYPE_CHECKING:
    from glmstore.models.family import Family

ANSWER = "known_answer.json"
FINGERPRINT_TOLERANCE = 1e-3
"""Largest difference between machines, relative to the value or to the mean of its layer, in float32."""
BATCH_TOLERANCE = {"torch.float32": 1e-3}
"""Largest change that batch and padding may make, in standard deviations of a layer, by its type."""
HALF_BATCH_TOLERANCE = 0.1
"""The same for types of 16 bits."""
HUMAN = "Homo sapiens"

Verdict = Literal["ok", "failed", "note"]


class Check(NamedTuple):
    """One thing asked of a model, and the answer; a note is neither good nor bad."""

    model: str
    what: str
    verdict: Verdict
    found: str


class ShippedAnswer(Frozen):
    """What the weights that come with the package gave when they were made."""

    weights_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    fingerprint: Fingerprint


def check_family(family: Family) -> Iterator[Check]:
    """Yield what the tiny network of an architecture answers, beside what it is known to."""
    owner = f"tiny {family.name}"
    try:
        known, found = known_answers.read_known(family.name), known_answers.answer(family)
    except GlmstoreError as error:
        yield Check(owner, "known answer", "failed", str(error))
        return
    off = [
        place
        for place in sorted({*known, *found})
        if not np.allclose(
            found.get(place, np.inf),
            known.get(place, np.nan),
            known_answers.TOLERANCE,
            known_answers.TOLERANCE,
        )
    ]
    words = f"{len(known)} states within {known_answers.TOLERANCE:g}"
    yield Check(
        owner, "known answer", "failed" if off else "ok", f"differs at {', '.join(off)}" if off else words
    )
    yield from _questions(owner, family.tiny_model(), trained=False, human=False)


def check_model(entry: ModelEntry, device: str = "cpu") -> Iterator[Check]:
    """Yield what is found of a model, as it is found.

    Its architecture is asked on tiny weights. Where the weights are here, they are hashed, loaded strictly
    and asked: finite states at every layer, independence of the batch, letters for tokens, and for models
    trained on human sequence a lower loss than guessing on a human promoter, which weights in wrong places do
    not reach. What they give is compared with the fingerprint that came with them; the first check of pulled
    weights that nothing fails writes one into their record, for the machines they are copied to.

    Parameters
    ----------
    entry
        A model with weights of its own.
    device
        Where the real weights are asked, in float32.

    Raises
    ------
    WeightsError
        If the model has no weights of its own.
    """
    require_weights_of_its_own(entry)
    architecture, failed = own_architecture(entry), False
    if architecture is not None:
        for check in check_family(architecture.family):
            failed |= check.verdict == "failed"
            yield check
    shipped = shipped_folder(entry.name)
    if shipped is None:
        try:
            if read_record(folder_of(entry.name)) is None:
                yield Check(entry.name, "weights", "note", how_to_get(entry.name, entry.source))
                return
            record = require(entry.name, folder_of(entry.name))
            verify(record, folder_of(entry.name))
        except WeightsError as error:
            yield Check(entry.name, "files", "failed", str(error))
            return
        yield Check(entry.name, "files", "ok", f"{len(record.files)} files have the sha256 recorded")
    try:
        model = entry.load(device)
    except GlmstoreError as error:
        yield Check(entry.name, "strict load", "failed", str(error))
        return
    yield Check(entry.name, "strict load", "ok", "every tensor found its place")
    with exact_float32(device):
        for check in _questions(entry.name, model, trained=True, human=_knows_human(entry)):
            failed |= check.verdict == "failed"
            yield check
        yield (
            _shipped_fingerprint(model, shipped)
            if shipped
            else _recorded_fingerprint(entry, model, sound=not failed)
        )


def shipped_answer(entry: ModelEntry) -> ShippedAnswer:
    """Return what the weights of a model give now, to be shipped beside them."""
    from glmstore.models.checkpoints.measuring import fingerprint

    model = entry.load("cpu")
    return ShippedAnswer(weights_sha256=str(model.spec.weights_sha256), fingerprint=fingerprint(model))


def _questions(owner: str, model: GenomicLM, *, trained: bool, human: bool) -> Iterator[Check]:
    from glmstore.models.architectures.language_model import LanguageModel
    from glmstore.models.checkpoints import measuring

    bad = measuring.not_finite(model)
    places = f"layers 0 to {model.spec.n_layers}" + (", logits" if isinstance(model, LanguageModel) else "")
    words = f"NaN or infinity at {', '.join(bad)}" if bad else places
    yield Check(owner, "finite", "failed" if bad else "ok", words)
    off, dtype = measuring.batch_deviation(model)
    allowed = BATCH_TOLERANCE.get(str(dtype), HALF_BATCH_TOLERANCE)
    words = f"{off:.1e} standard deviations at most; {allowed:g} are allowed"
    yield Check(owner, "batch invariance", "ok" if off <= allowed else "failed", words)
    if not isinstance(model, LanguageModel) or model.spec.objective not in {"mlm", "clm"}:
        return
    rows, ids = model.n_embeddings, len(model.tokenizer.strings)
    problem = measuring.misread_letters(model)
    words = f"{ids} ids, " + (f"{rows} rows" if rows is not None else "letters one-hot")
    fits = problem is None and vocabulary_fits(model)
    yield Check(owner, "tokenizer", "ok" if fits else "failed", problem or words)
    if not trained:
        return
    loss = measuring.promoter_loss(model)
    if loss is None:
        yield Check(owner, "promoter", "note", "it cannot hide a token and ask for it")
        return
    words = f"{loss.model:.3f} nats a token, guessing {loss.uniform:.3f}"
    if human:
        yield Check(owner, "promoter", "ok" if loss.model < loss.uniform else "failed", words)
    else:
        yield Check(owner, "promoter", "note", f"{words}; not judged: it was not trained on human sequence")


def _knows_human(entry: ModelEntry) -> bool:
    return entry.spec.pretraining is not None and HUMAN in entry.spec.pretraining.species


def _shipped_fingerprint(model: GenomicLM, folder: Path) -> Check:
    name = model.spec.name
    try:
        known = ShippedAnswer.model_validate_json((folder / ANSWER).read_text())
    except (OSError, ValidationError) as error:
        return Check(name, "fingerprint", "failed", f"{folder / ANSWER} cannot be read: {in_a_line(error)}")
    if known.weights_sha256 != model.spec.weights_sha256:
        cure = f"`python -m glmstore.models.known_answers {name}` writes it anew"
        return Check(name, "fingerprint", "failed", f"{folder / ANSWER} is of other weights: {cure}")
    return _compared(model, known.fingerprint)


def _recorded_fingerprint(entry: ModelEntry, model: GenomicLM, *, sound: bool) -> Check:
    from glmstore.models.checkpoints.measuring import fingerprint

    folder = folder_of(entry.name)
    record = require(entry.name, folder)
    if record.fingerprint is not None:
        return _compared(model, record.fingerprint)
    if not sound:
        words = "not recorded: weights that fail a check are nothing for other machines to compare with"
        return Check(entry.name, "fingerprint", "note", words)
    try:
        write_record(folder, record.model_copy(update={"fingerprint": fingerprint(model)}))
    except OSError as error:
        return Check(
            entry.name, "fingerprint", "note", f"not recorded, {folder} cannot be written: {error.strerror}"
        )
    return Check(entry.name, "fingerprint", "ok", "recorded now; other machines compare with it")


def _compared(model: GenomicLM, known: Fingerprint) -> Check:
    from glmstore.models.checkpoints.measuring import fingerprint, fingerprint_deviation

    off = fingerprint_deviation(fingerprint(model), known)
    words = f"{off:.1e} from that of {known.made_with}; {FINGERPRINT_TOLERANCE:g} is allowed"
    return Check(model.spec.name, "fingerprint", "ok" if off <= FINGERPRINT_TOLERANCE else "failed", words)
