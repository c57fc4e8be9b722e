"""Byte-pair encoding by a published ``tokenizer.json``, with the nucleotides that each token stands for.

The file is read by the ``tokenizers`` library, on which transformers depends. Three things of it need care. A
normaliser may replace letters (GENA-LM turns ten Ns or more into one ``-``), and the library then gives the
replacement the offset of a single letter. A file that names no unknown token makes the library delete letters
it does not know, which shifts every offset behind them and joins letters that are not neighbours. And a file
may hold entries that are never made (GROVER's last one is empty), for which the network has no row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from glmstore.errors import WeightsError
from glmstore.models.base import Batch
from glmstore.models.tokenizers.base import check_tokens
from glmstore.models.tokenizers.ragged import pad_tokens

FILE = "tokenizer.json"
UNKNOWN = "[UNK]"
PROBE = "ACGTTGCANNATTGCAGGT" + "N" * 12 + "ACCA"


class BPETokenizer:
    """Cuts sequences into the pieces of a learnt vocabulary, between ``[CLS]`` and ``[SEP]``.

    Parameters
    ----------
    text
        Contents of the ``tokenizer.json``.
    max_tokens
        Longest sequence in tokens, specials included; None for no limit.

    Attributes
    ----------
    strings, sha256, mask_id
        See :class:`glmstore.models.tokenizers.base.Tokenizer`. A piece that stands for no fixed letters (a
        long run of N) has ``""``.

    Raises
    ------
    WeightsError
        If the text is no such tokenizer, lacks a special token, or puts other specials around a sequence.
    """

    def __init__(self, text: str, *, max_tokens: int | None) -> None:
        self._tokenizer = _parse(text)
        self.sha256 = hashlib.sha256(text.encode()).hexdigest()
        self.max_tokens = max_tokens
        pieces = self._tokenizer.get_vocab()
        try:
            self._cls_id, self._sep_id, self._pad_id = (pieces[f"[{name}]"] for name in ("CLS", "SEP", "PAD"))
            self.mask_id: int | None = pieces["[MASK]"]
        except KeyError as error:
            raise WeightsError(f"the {FILE} has no token {error}: it is another model's.") from error
        strings = [""] * (1 + max(i for piece, i in pieces.items() if piece))
        for piece, i in pieces.items():
            if piece and set(piece) <= set("ACGTN"):
                strings[i] = piece
        self.strings: Sequence[str] = tuple(strings)
        self._widths = np.array([len(s) for s in strings])
        self._check_specials()
        self._cut([PROBE])

    @classmethod
    def from_folder(cls, folder: Path | None, *, max_tokens: int | None) -> BPETokenizer:
        """Read the tokenizer of a pulled checkpoint.

        Parameters
        ----------
        folder
            Where it was pulled to; None where it was not.
        max_tokens
            Longest sequence in tokens, specials included; None for no limit.

        Raises
        ------
        WeightsError
            If there is none, or it cannot be read.
        """
        if folder is None:
            raise WeightsError(
                "the vocabulary is a file that comes with the weights, and nothing was pulled; random twins "
                "need it too. Run `glmstore models pull NAME` with the model's name."
            )
        try:
            text = (folder / FILE).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise WeightsError(f"the {FILE} cannot be read ({error}).") from error
        return cls(text, max_tokens=max_tokens)

    def encode(self, sequences: Sequence[str]) -> Batch:
        """Return a batch, padded on the right, whose spans tile every sequence.

        Parameters
        ----------
        sequences
            Over ``ACGTN``, none of them empty.

        Raises
        ------
        SequenceTooLongError
            If a sequence takes more than `max_tokens` tokens; names it by its place.
        WeightsError
            If the pieces do not tile a sequence, so that no vector could be put to its nucleotides.
        """
        ids, ends = self._cut(sequences)
        check_tokens([len(row) + 2 for row in ids], self.max_tokens)
        return pad_tokens(ids, ends, cls_id=self._cls_id, sep_id=self._sep_id, pad_id=self._pad_id)

    def count(self, sequences: Sequence[str]) -> np.ndarray:
        """Return int64 [n], the tokens of each sequence, specials included; the strands may differ."""
        found = self._tokenizer.encode_batch_fast(list(sequences), add_special_tokens=False)
        return np.array([len(e) + 2 for e in found], dtype=np.int64)

    def _cut(self, sequences: Sequence[str]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return the pieces of each sequence and where they end."""
        found = self._tokenizer.encode_batch(list(sequences), add_special_tokens=False)
        ids = [np.array(e.ids, dtype=np.int64) for e in found]
        ends = [np.array([end for _, end in e.offsets], dtype=np.int64) for e in found]
        for i, sequence in enumerate(sequences):
            self._check_tiling(f"sequence {i}", len(sequence), ids[i], ends[i])
        return ids, ends

    def _check_tiling(self, record: str, length: int, ids: np.ndarray, ends: np.ndarray) -> None:
        """Refuse ends that do not rise to the sequence's end, or pieces wider or narrower than their letters.

        Only ends are used: where a normaliser put one piece for many letters, it lies at the last of them.
        """
        widths = np.diff(ends, prepend=0)
        letters = self._widths[ids]
        whole = len(ends) > 0 and ends[-1] == length and bool((widths > 0).all())
        if not whole or bool(((widths != letters) & (letters > 0)).any()):
            raise WeightsError(
                f"the pieces that the tokenizer makes of {record} do not tile its {length} nt, so they "
                "cannot be put to nucleotides: the file is another model's, or of another kind."
            )

    def _check_specials(self) -> None:
        bare = self._tokenizer.encode("ACGT", add_special_tokens=False).ids
        if self._tokenizer.encode("ACGT").ids != [self._cls_id, *bare, self._sep_id]:
            raise WeightsError(f"the {FILE} does not put [CLS] before and [SEP] behind a sequence.")


def _parse(text: str) -> Any:
    """Return the library's tokenizer, one that cuts nothing off and deletes no letter."""
    try:
        content = json.loads(text)
        model = content["model"]
        kind, pieces = model["type"], model["vocab"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise WeightsError(f"the {FILE} cannot be read ({error!r}).") from error
    if kind != "BPE":
        raise WeightsError(f"the {FILE} holds a {kind} model, not BPE: it is another model's.")
    if model.get("unk_token") is None and UNKNOWN in pieces:
        model["unk_token"] = UNKNOWN
    try:
        return Tokenizer.from_str(json.dumps({**content, "truncation": None, "padding": None}))
    except Exception as error:  # the library raises nothing narrower
        raise WeightsError(f"the {FILE} cannot be read ({error}).") from error
