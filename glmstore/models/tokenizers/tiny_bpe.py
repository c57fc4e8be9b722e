"""Small byte-pair tokenizers learnt on the spot, for known answers and tests without a network."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

SPECIALS = ("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]")
SIZE = 64
"""Entries of the vocabulary, specials included."""


def tiny_bpe_json(*, reads_n: bool = False) -> str:
    """Return a ``tokenizer.json`` learnt on 2,000 random letters; the same text at every call.

    Parameters
    ----------
    reads_n
        Whether it reads N as GENA-LM's second tokenizer does: as a letter, and ten or more as one ``-``.
        Otherwise each N is ``[UNK]``.
    """
    from tokenizers import Tokenizer, models, trainers

    letters = np.random.default_rng(0).choice(list("ACGT"), 2_000)
    unknown = {"unk_token": SPECIALS[0]}
    tokenizer = Tokenizer(models.BPE(**unknown))
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE,
        special_tokens=[*SPECIALS, *(["-"] if reads_n else [])],
        initial_alphabet=list("ACGTN" if reads_n else "ACGT"),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["".join(letters)], trainer)
    content: dict[str, Any] = json.loads(tokenizer.to_str())
    ids = {name: SPECIALS.index(name) for name in ("[CLS]", "[SEP]")}
    content["post_processor"] = {
        "type": "BertProcessing",
        "cls": ["[CLS]", ids["[CLS]"]],
        "sep": ["[SEP]", ids["[SEP]"]],
    }
    if reads_n:
        content["normalizer"] = {"type": "Replace", "pattern": {"Regex": "N{10,}"}, "content": "-"}
        content["pre_tokenizer"] = {
            "type": "Split",
            "pattern": {"String": "-"},
            "behavior": "Isolated",
            "invert": False,
        }
    return json.dumps(content)
