"""What makes a model family: one architecture, one way of tokenising, any number of checkpoints."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmstore.errors import WeightsError
from glmstore.models.base import GenomicLM, ModelEntry, Untrained
from glmstore.models.checkpoints.advice import advised, how_to_replace_tokenizer
from glmstore.models.checkpoints.presence import require, verify
from glmstore.models.checkpoints.source import HubSource, Pulled, folder_of, read_record
from glmstore.models.checkpoints.vocabulary import check_vocabulary
from glmstore.models.spec import ModelSpec, Pretraining

if TYPE_CHECKING:
    from torch import nn

    from glmstore.models.architectures.language_model import LanguageModel
    from glmstore.models.tokenizers.base import Tokenizer

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Family:
    """How the models of one architecture are built, whatever their size and their weights.

    Attributes
    ----------
    name
        Short name, as in ``glmstore.models.known_answers``.
    network
        ``network(config)`` returns the torch module with freshly drawn weights; it is a
        :class:`glmstore.models.network.Network`.
        Configurations have the keys of the published ``config.json``.
    tokenizer
        ``tokenizer(config, folder)`` returns the tokenizer; `folder` holds the pulled files, None where
        nothing was pulled, which only families with a vocabulary file mind.
    traits
        Fields of :class:`ModelSpec` that all its models share: family, objective, tokenization, has_cls,
        causal, rc_equivariant, scores_masked_bases, lora_targets, poolings, licence, citation, …
    shape
        ``shape(config)`` returns the fields that the configuration decides: dim, n_layers, max_nt.
    tiny
        Configuration of a network of a few thousand weights, for known answers.
    source
        The upstream file, with its commit, that the architecture was checked against.
    rename
        Turns a published tensor name into the network's, where they differ by a prefix.
    ignored
        Regular expressions of published tensor names that are left out: buffers, poolers, contact heads.
    initialiser
        Changes when the way fresh weights are drawn does, so that random twins get another revision.
    tiny_tokenizer
        ``tiny_tokenizer()`` returns the tokenizer of the tiny network, for families whose vocabulary is a
        file that does not come with the package.
    """

    name: str
    network: Callable[[Config], nn.Module]
    tokenizer: Callable[[Config, Path | None], Tokenizer]
    traits: Mapping[str, Any]
    shape: Callable[[Config], Mapping[str, Any]]
    tiny: Config
    source: str
    rename: Callable[[str], str] | None = None
    ignored: tuple[str, ...] = ()
    initialiser: str = "1"
    tiny_tokenizer: Callable[[], Tokenizer] | None = field(default=None)

    def describe(self, config: Config, **facts: Any) -> ModelSpec:
        """Return the description of one model: what the family and the shape give, and `facts` on top.

        The default layer is the middle one, rounded up, unless `facts` say otherwise.
        """
        shape = self.shape(config)
        middle = {"default_layer": (shape["n_layers"] + 1) // 2}
        return ModelSpec(**{**middle, **self.traits, **shape, **facts})

    def tiny_model(self) -> LanguageModel:
        """Return the tiny network with its tokenizer: the same code as the published models, on CPU."""
        from glmstore.models.architectures.language_model import LanguageModel

        network = self.untrained_network(self.tiny, 0)
        tokenizer = self.tiny_tokenizer() if self.tiny_tokenizer else self.tokenizer(self.tiny, None)
        spec = self.describe(
            self.tiny,
            name=f"tiny-{self.name}",
            summary=f"A tiny {self.name} with random weights.",
            revision=f"{self.recipe(self.tiny)}-seed0",
            tokenizer_sha256=tokenizer.sha256,
            n_parameters=sum(p.numel() for p in network.parameters()),
            pretraining=Pretraining(species=(), assembly=None, chromosomes=()),
        )
        return LanguageModel(spec, network, tokenizer)

    def recipe(self, config: Config) -> str:
        """Return hex digits that stand for the shape and the initialisation of a network."""
        payload = json.dumps({"family": self.name, "initialiser": self.initialiser, **config}, sort_keys=True)
        return hashlib.blake2b(payload.encode(), digest_size=8).hexdigest()

    def untrained_network(self, config: Config, seed: int) -> nn.Module:
        """Return a network whose weights depend on `config` and `seed` only, in any thread."""
        from glmstore.models.architectures.drawing import DrawnFrom

        with DrawnFrom(seed):
            return self.network(config)


@dataclass(frozen=True)
class Architecture(Untrained):
    """A family under one published configuration: what can be known of a model before its weights are here.

    Attributes
    ----------
    family, config
        The architecture and its shape.
    model
        Registry name, under which files may have been pulled.
    source
        Where those files are published; None for weights on no hub.
    """

    family: Family
    config: Config
    model: str
    source: HubSource | None = None

    def network(self) -> nn.Module:
        """Return the torch module with freshly drawn weights."""
        return self.family.network(self.config)

    def tokenizer(self) -> Tokenizer:
        """Return the tokenizer; raises WeightsError where its vocabulary is a file that was not pulled."""
        return _tokenizer(self.family, self.config, self.model, self.source)


def published(family: Family, spec: ModelSpec, config: Config, source: HubSource | None = None) -> ModelEntry:
    """Return the registry entry of a published checkpoint.

    Its weights are those that ``glmstore models pull`` recorded; until then it has no revision, cannot be
    loaded, and only its random twins (where the vocabulary is code) can embed.

    Parameters
    ----------
    family
        Its architecture.
    spec
        Description; revision and digests are filled in from what was pulled.
    config
        The published configuration, with every key that `family.network` reads.
    source
        Its hub repository; None for weights that are published elsewhere and adopted from a folder.
    """
    as_published = partial(published, family, spec, config, source)
    spec = _pinned(spec, record_of(spec.name), source)
    build = partial(_build_untrained, family, config, spec.name, source)
    untrained = Architecture(family.recipe(config), build, family, config, spec.name, source)
    load = partial(_load, family, spec, config, source)
    return ModelEntry(spec, load, untrained, source, current=as_published)


def record_of(model: str) -> Pulled | None:
    """Return the record of a model; None too where it is damaged, so that one folder does not end every list.

    Loading the model reads the record again, and says what is wrong with it.
    """
    try:
        record = read_record(folder_of(model))
    except WeightsError:
        return None
    return record if record is not None and record.model == model else None


def _pinned(spec: ModelSpec, record: Pulled | None, source: HubSource | None) -> ModelSpec:
    if record is None:
        return spec
    update: dict[str, Any] = {
        "revision": record.revision,
        "weights_sha256": record.sha256_of(record.weights),
    }
    if source and source.tokenizer:
        update["tokenizer_sha256"] = record.sha256_of(source.tokenizer)
    return spec.model_copy(update=update)


def _load(
    family: Family, spec: ModelSpec, config: Config, source: HubSource | None, device: str
) -> GenomicLM:
    model = load_from(folder_of(spec.name), family, spec, config, source, device)
    if spec.revision is not None and model.spec.revision != spec.revision:
        raise WeightsError(
            f"{spec.name} was at revision {spec.revision[:12]} when this was asked for, and other weights, "
            f"of {str(model.spec.revision)[:12]}, were pulled meanwhile. Run it again for a view of those."
        )
    return model


def load_from(
    folder: Path, family: Family, spec: ModelSpec, config: Config, source: HubSource | None, device: str
) -> LanguageModel:
    """Return the model whose checkpoint lies in a folder, in evaluation mode.

    Parameters
    ----------
    folder
        Holds the record that ``glmstore models pull`` wrote, and the files it names.
    family, config
        Architecture and shape.
    spec
        Its description; revision and digests become those of the record, whatever was pulled meanwhile.
    source
        Where it is published; None for weights on no hub.
    device
        A torch device.

    Raises
    ------
    WeightsError
        If files are missing, changed or truncated, the weights do not fit the architecture, or the tokenizer
        is another one than recorded or than the weights have rows for.
    """
    from glmstore.models.architectures.language_model import LanguageModel
    from glmstore.models.checkpoints.loading import build_unfilled, load_strict

    record = require(spec.name, folder)
    if source is not None:
        verify(record, folder, source.beside)
    advice = how_to_replace_tokenizer(record, source) if source is not None else ""
    with advised(advice):
        tokenizer = family.tokenizer(config, folder)
    network = build_unfilled(partial(family.network, config))
    files = [folder / name for name in record.weights]
    load_strict(network, files, owner=spec.name, rename=family.rename, ignored=family.ignored)
    model = LanguageModel(_pinned(spec, record, source), network, tokenizer, device)
    with advised(advice):
        check_vocabulary(model, source.pieces if source is not None else {})
    return model


def _build_untrained(
    family: Family,
    config: Config,
    base: str,
    source: HubSource | None,
    spec: ModelSpec,
    seed: int,
    device: str,
) -> GenomicLM:
    from glmstore.models.architectures.language_model import LanguageModel

    tokenizer = _tokenizer(family, config, base, source)
    model = LanguageModel(spec, family.untrained_network(config, seed), tokenizer, device)
    with advised(_about_tokenizer(base, source)):
        check_vocabulary(model, source.pieces if source is not None else {})
    return model


def _tokenizer(family: Family, config: Config, model: str, source: HubSource | None) -> Tokenizer:
    """Return the tokenizer of a model whose weights are not wanted."""
    folder = folder_of(model)
    # Only a vocabulary that is a file needs another tokenizer for the tiny network.
    if family.tiny_tokenizer is not None:
        require(model, folder)
    with advised(_about_tokenizer(model, source)):
        return family.tokenizer(config, folder if read_record(folder) else None)


def _about_tokenizer(model: str, source: HubSource | None) -> str:
    record = record_of(model)
    return how_to_replace_tokenizer(record, source) if record is not None and source is not None else ""
