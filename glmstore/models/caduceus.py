"""Caduceus: bidirectional Mamba over single nucleotides; PS treats both strands alike, PH learnt to.

Schiff et al. 2024, ICML (arXiv:2403.03234). The published tokenizer appends [SEP] unless told otherwise, and
the pretraining put one at the end of every window. A [SEP] at one end breaks what PS is for (the reverse
complement of a sequence has the same vectors, reversed), so there is none here, for PH neither.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmstore.models.base import ModelEntry
from glmstore.models.checkpoints.source import HubSource
from glmstore.models.family import Config, Family, published
from glmstore.models.spec import Pretraining

if TYPE_CHECKING:
    from torch import nn

    from glmstore.models.tokenizers.base import Tokenizer

VOCABULARY = (
    *("[CLS]", "[SEP]", "[BOS]", "[MASK]", "[PAD]", "[RESERVED]", "[UNK]"),
    *("A", "C", "G", "T", "N"),
)
VOCABULARY_SHA256 = hashlib.sha256("\n".join(VOCABULARY).encode()).hexdigest()
MASK_ID, PAD_ID = 3, 4
ROWS = 16
"""Embeddings: the vocabulary, rounded up."""
COMPLEMENTS = {**{str(i): i for i in range(ROWS)}, "7": 10, "8": 9, "9": 8, "10": 7}
"""The published complement map, with the keys JSON gives it: A and T, C and G change places."""
CONTEXT = 131_072
"""Nucleotides of the longest pretraining window. The network has no limit; past its window it is untested."""


def _network(config: Config) -> nn.Module:
    from glmstore.models.architectures.caduceus import CaduceusForMaskedLM

    return CaduceusForMaskedLM(config)


def _tokenizer(_config: Config, _folder: Path | None) -> Tokenizer:
    from glmstore.models.tokenizers.character import CharacterTokenizer

    return CharacterTokenizer(VOCABULARY, pad_id=PAD_ID, mask_id=MASK_ID)


def _shape(config: Config) -> Config:
    strands = 2 if config["rcps"] else 1
    return {"dim": strands * config["d_model"], "n_layers": config["n_layer"], "max_nt": CONTEXT}


def _config(d_model: int, n_layer: int, *, rcps: bool) -> dict[str, Any]:
    """Return the published ``config.json``, as far as it describes the network."""
    return {
        "d_model": d_model,
        "n_layer": n_layer,
        "vocab_size": ROWS,
        "pad_vocab_size_multiple": 8,
        "rcps": rcps,
        "complement_map": COMPLEMENTS,
        "bidirectional": True,
        "bidirectional_strategy": "add",
        "bidirectional_weight_tie": True,
        "rms_norm": True,
        "fused_add_norm": True,
        "norm_epsilon": 1e-5,
        "ssm_cfg": {
            "d_state": 16,
            "d_conv": 4,
            "expand": 2,
            "dt_rank": "auto",
            "dt_min": 0.001,
            "dt_max": 0.1,
            "dt_init": "random",
            "dt_scale": 1.0,
            "dt_init_floor": 1e-4,
            "conv_bias": True,
            "bias": False,
            "use_fast_path": True,
        },
        "initializer_cfg": {
            "initializer_range": 0.02,
            "rescale_prenorm_residual": True,
            "n_residuals_per_layer": 1,
        },
    }


def _family(name: str, kind: str, *, rcps: bool) -> Family:
    return Family(
        name=name,
        network=_network,
        tokenizer=_tokenizer,
        traits={
            "family": kind,
            "objective": "mlm",
            "tokenization": "character",
            "tokenizer_sha256": VOCABULARY_SHA256,
            "rc_equivariant": rcps,
            "scores_masked_bases": True,
            "lora_targets": ("in_proj", "x_proj"),
            "licence": "Apache-2.0",
            "citation": "Schiff et al. 2024, Caduceus, ICML (arXiv:2403.03234)",
        },
        shape=_shape,
        tiny=_config(16, 3, rcps=rcps),
        source="kuleshov-group/caduceus, modeling_caduceus.py at 2593c80 and modeling_rcps.py at 49e3204",
    )


PH_FAMILY = _family("caduceus-ph", "Caduceus-Ph", rcps=False)
PS_FAMILY = _family("caduceus-ps", "Caduceus-PS", rcps=True)


def _model(family: Family, d_model: int, n_layer: int, context: int, n_parameters: int) -> ModelEntry:
    config, long = _config(d_model, n_layer, rcps=family is PS_FAMILY), context == CONTEXT
    shape = f"seqlen-{'131k' if long else '1k'}_d_model-{d_model}_n_layer-{n_layer}"
    repo = f"kuleshov-group/{family.name}_{shape}{'' if long else '_lr-8e-3'}"
    strands = "parameters shared over the strands" if config["rcps"] else "trained on both strands"
    return published(
        family,
        family.describe(
            config,
            name=f"{family.name}-131k" if long else f"{family.name}-1k-d{d_model}",
            summary=f"Bidirectional, {strands}; {n_layer} layers, {context:,} nt of context.",
            hub_id=repo,
            revision=None,
            n_parameters=n_parameters,
            max_nt=context,
            # The cards of the small models state no licence; their code is Apache-2.0.
            licence="Apache-2.0" if long else "unstated (code: Apache-2.0)",
            # The training intervals of Basenji's human split, which follows no chromosomes.
            pretraining=Pretraining(species=("Homo sapiens",), assembly="GRCh38", chromosomes=None),
        ),
        config,
        HubSource(repo=repo),
    )


CADUCEUS_MODELS = tuple(
    _model(family, d_model, n_layer, context, n_parameters)
    for family in (PH_FAMILY, PS_FAMILY)
    for d_model, n_layer, context, n_parameters in (
        (256, 16, CONTEXT, 7_725_312),
        (256, 4, 1_024, 1_934_592),
        (118, 4, 1_024, 470_702),
    )
)
