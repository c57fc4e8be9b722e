"""Byte-pair pieces and overlapping k-mers stand for exactly the nucleotides that their spans say."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glmstore.errors import SequenceTooLongError, WeightsError
from glmstore.extraction.windows import MOST_SPECIALS
from glmstore.models.base import Batch
from glmstore.models.tokenizers.bpe import BPETokenizer
from glmstore.models.tokenizers.overlapping import OverlappingTokenizer, vocabulary
from glmstore.models.tokenizers.tiny_bpe import SPECIALS, tiny_bpe_json

PLAIN, READS_N = tiny_bpe_json(), tiny_bpe_json(reads_n=True)
UNK, CLS, SEP, PAD, MASK = range(5)
# dnabert-config/bert-config-3/vocab.txt of jerryji1993/DNABERT at c9b6ccb, behind its five specials.
PUBLISHED_3_MERS = """
AAA AAT AAC AAG ATA ATT ATC ATG ACA ACT ACC ACG AGA AGT AGC AGG
TAA TAT TAC TAG TTA TTT TTC TTG TCA TCT TCC TCG TGA TGT TGC TGG
CAA CAT CAC CAG CTA CTT CTC CTG CCA CCT CCC CCG CGA CGT CGC CGG
GAA GAT GAC GAG GTA GTT GTC GTG GCA GCT GCC GCG GGA GGT GGC GGG
"""


def bpe(text: str, **changes: Any) -> BPETokenizer:
    """Return the tokenizer of a file in which top-level entries, or those of ``model``, are changed."""
    content = json.loads(text)
    content["model"].update(changes.pop("model", {}))
    return BPETokenizer(json.dumps({**content, **changes}), max_tokens=None)


def pieces(tokenizer: Any, sequence: str) -> list[tuple[int, str]]:
    """Return the id and the letters under each real token of a sequence."""
    batch = tokenizer.encode([sequence])
    real = ~batch.special_mask[0]
    spans = batch.spans[0][real].tolist()
    return [(i, sequence[a:b]) for i, (a, b) in zip(batch.ids[0][real].tolist(), spans, strict=True)]


def assert_tiles(batch: Batch, sequences: list[str]) -> None:
    assert batch.lengths.tolist() == [len(s) for s in sequences]
    for row, sequence in enumerate(sequences):
        spans = batch.spans[row][~batch.special_mask[row]].tolist()
        assert [a for a, _ in spans] == [0, *(b for _, b in spans[:-1])]
        assert spans[-1][1] == len(sequence)
        assert all(a < b for a, b in spans)
        assert not batch.spans[row][batch.special_mask[row]].any()


dna = st.text("ACGTN", min_size=1, max_size=2000)
# Runs of N too: a letter at a time hardly ever makes ten of them.
with_runs = st.lists(
    st.one_of(st.text("ACGTN", max_size=60), st.integers(1, 40).map("N".__mul__)), max_size=40
).map(lambda parts: "".join(parts) or "N")
sequences_of_dna = st.lists(st.one_of(dna, with_runs), min_size=1, max_size=3)


@pytest.mark.parametrize("text", [PLAIN, READS_N])
@settings(max_examples=60, deadline=None)
@given(sequences=sequences_of_dna)
def test_byte_pair_pieces_tile_every_sequence_and_spell_its_letters(text: str, sequences: list[str]):
    tokenizer = TOKENIZERS[text]
    batch = tokenizer.encode(sequences)
    assert_tiles(batch, sequences)
    for row, sequence in enumerate(sequences):
        for i, (a, b) in zip(batch.ids[row].tolist(), batch.spans[row].tolist(), strict=True):
            if tokenizer.strings[i]:
                assert sequence[a:b] == tokenizer.strings[i]
            else:
                assert set(sequence[a:b]) <= {"N"}


@pytest.mark.parametrize("text", [PLAIN, READS_N])
@settings(max_examples=40, deadline=None)
@given(sequences=sequences_of_dna)
def test_counting_pieces_agrees_with_making_them(text: str, sequences: list[str]):
    tokenizer = TOKENIZERS[text]
    tokens = tokenizer.encode(sequences).attention_mask.sum(dim=1).tolist()
    assert tokenizer.count(sequences).tolist() == tokens
    assert all(n <= len(s) + MOST_SPECIALS for n, s in zip(tokens, sequences, strict=True))


TOKENIZERS = {text: BPETokenizer(text, max_tokens=None) for text in (PLAIN, READS_N)}


@pytest.mark.parametrize("k", [3, 4, 5, 6])
@settings(max_examples=30, deadline=None)
@given(sequences=sequences_of_dna)
def test_k_mers_tile_every_sequence_and_are_those_at_each_nucleotide(k: int, sequences: list[str]):
    tokenizer = OverlappingTokenizer(k)
    batch = tokenizer.encode(sequences)
    assert_tiles(batch, sequences)
    for row, sequence in enumerate(sequences):
        words = [sequence[i : i + k] for i in range(max(len(sequence) - k + 1, 1))]
        ids = batch.ids[row][~batch.special_mask[row]].tolist()
        known = [w if len(w) == k and "N" not in w else "" for w in words]
        assert [tokenizer.strings[i] for i in ids] == known


@pytest.mark.parametrize("k", [3, 4, 5, 6])
def test_each_nucleotide_belongs_to_the_k_mer_whose_centre_is_nearest(k: int):
    length = 17
    spans = OverlappingTokenizer(k).encode(["ACGTTGCAATTGCAGGT"]).spans[0, 1:-1].tolist()
    centres = np.arange(length - k + 1) + (k - 1) / 2
    owner = {p: token for token, (a, b) in enumerate(spans) for p in range(a, b)}
    for p in range(length):
        distances = np.abs(centres - p)
        assert distances[owner[p]] == distances.min()


def test_k_mers_have_the_published_ids():
    assert list(vocabulary(3)) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *PUBLISHED_3_MERS.split()]
    six = vocabulary(6)
    assert len(six) == 4101
    assert six[5:9] == ("AAAAAA", "AAAAAT", "AAAAAC", "AAAAAG")
    assert six.index("AAAATA") == 9
    assert six.index("TAAAAA") == 5 + 1024
    batch = OverlappingTokenizer(3).encode(["ATGC", "AC"])
    assert batch.ids.tolist() == [[2, 12, 35, 3], [2, 1, 3, 0]]
    assert batch.attention_mask.tolist() == [[True] * 4, [True, True, True, False]]
    assert batch.special_mask.tolist() == [[True, False, False, True], [True, False, True, True]]


def test_a_sequence_shorter_than_k_is_one_unknown_token_over_all_of_it():
    assert pieces(OverlappingTokenizer(6), "ACGTA") == [(1, "ACGTA")]


def test_the_tiny_vocabulary_is_the_same_at_every_call():
    assert tiny_bpe_json() == PLAIN
    assert tiny_bpe_json(reads_n=True) == READS_N
    assert max(map(len, TOKENIZERS[PLAIN].strings)) > 2


def test_a_batch_is_padded_on_the_right_between_its_specials():
    tokenizer = TOKENIZERS[PLAIN]
    alone = tokenizer.encode(["A"])
    assert alone.ids.tolist() == [[CLS, tokenizer.strings.index("A"), SEP]]
    batch = tokenizer.encode(["A", "ACGTTGCA"])
    assert batch.ids[0, :3].tolist() == alone.ids[0].tolist()
    assert set(batch.ids[0, 3:].tolist()) == {PAD}
    assert batch.attention_mask[0].tolist() == [True] * 3 + [False] * (batch.ids.shape[1] - 3)
    assert batch.spans.dtype == torch.int32
    assert tokenizer.mask_id == MASK


@pytest.mark.parametrize(
    ("sequence", "ids", "letters"),
    [
        ("ACGTN" * 3, [120, 5428] * 3, ["ACG", "TN"] * 3),
        ("ACGTNNNNNNNNNN", [120, 15, 5], ["ACG", "T", "N" * 10]),
    ],
)
def test_the_tokenizer_of_gena_lm_gives_the_published_ids(sequence: str, ids: list[int], letters: list[str]):
    """Every setting of the published file, and those of its 32,000 pieces that these sequences need."""
    specials = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "[PAD]": 3, "[MASK]": 4, "-": 5}
    vocab = {**specials, "A": 6, "C": 8, "G": 9, "N": 12, "T": 15, "AC": 24, "ACG": 120, "TN": 5428}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    replace = {"type": "Replace", "pattern": {"Regex": "N{10,}"}, "content": "-"}
    strip = {"type": "Strip", "strip_left": True, "strip_right": True}
    text = json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [{"id": i, "content": name, **flags} for name, i in specials.items()],
            "normalizer": {"type": "Sequence", "normalizers": [strip, replace]},
            "pre_tokenizer": {
                "type": "Split",
                "pattern": {"String": "-"},
                "behavior": "Isolated",
                "invert": False,
            },
            "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]},
            "decoder": {"type": "BPEDecoder", "suffix": " "},
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": "[UNK]",
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "vocab": vocab,
                "merges": ["A C", "AC G", "T N"],
            },
        }
    )
    assert pieces(BPETokenizer(text, max_tokens=512), sequence) == list(zip(ids, letters, strict=True))


@pytest.mark.parametrize("before", ["", "ACGT"])
@pytest.mark.parametrize("after", ["", "ACGT"])
@pytest.mark.parametrize("run", [9, 10, 11, 300])
def test_a_long_run_of_n_is_one_token_over_all_of_it(before: str, after: str, run: int):
    found = pieces(TOKENIZERS[READS_N], before + "N" * run + after)
    dash = len(SPECIALS)
    if run < 10:
        assert dash not in [i for i, _ in found]
    else:
        assert (dash, "N" * run) in found
    assert "".join(letters for _, letters in found) == before + "N" * run + after


def test_unknown_letters_are_never_deleted():
    tokenizer = bpe(PLAIN, model={"unk_token": None})
    assert pieces(tokenizer, "ACGTNNACGT") == pieces(TOKENIZERS[PLAIN], "ACGTNNACGT")
    assert [p for p in pieces(tokenizer, "ACGTNNACGT") if p[0] == UNK] == [(UNK, "N")] * 2


def test_an_empty_entry_that_is_never_made_has_no_id():
    model = json.loads(PLAIN)["model"]
    merges = [["A", ""], ["C", ""], ["G", ""], ["T", ""], *model["merges"]]
    vocab = {**model["vocab"], "": len(model["vocab"])}
    tokenizer = bpe(PLAIN, model={"vocab": vocab, "merges": [" ".join(m) for m in merges]})
    assert len(tokenizer.strings) == len(model["vocab"])
    sequence = "ACGTTGCANNATTGCAGGTACCATTTGACGGATCC"
    assert pieces(tokenizer, sequence) == pieces(TOKENIZERS[PLAIN], sequence)


def test_nothing_is_cut_off_or_padded_because_the_file_says_so():
    truncation = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    padding = {"strategy": {"Fixed": 8}, "direction": "Left", "pad_to_multiple_of": None}
    padding |= {"pad_id": PAD, "pad_type_id": 0, "pad_token": "[PAD]"}
    tokenizer = bpe(PLAIN, truncation=truncation, padding=padding)
    assert pieces(tokenizer, "ACGTTGCA" * 9) == pieces(TOKENIZERS[PLAIN], "ACGTTGCA" * 9)


@pytest.mark.parametrize(
    "tokenizer", [BPETokenizer(PLAIN, max_tokens=12), OverlappingTokenizer(3, max_tokens=12)]
)
def test_a_sequence_past_the_context_is_refused_by_its_place(tokenizer: Any):
    assert tokenizer.encode(["NNNNNNNNNN"]).ids.shape[1] <= 12
    with pytest.raises(SequenceTooLongError, match=r"sequence 1: \d+ tokens, and the context takes 12"):
        tokenizer.encode(["ACGT", "N" * 40])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        (json.dumps({"model": {"type": "WordPiece", "vocab": {}}}), "WordPiece model, not BPE"),
        (json.dumps({"model": {"type": "BPE", "vocab": {}, "merges": [["A", "C"]]}}), "cannot be read"),
        (PLAIN.replace("[MASK]", "[HIDE]"), "no token '[MASK]'"),
        (json.dumps({**json.loads(PLAIN), "post_processor": None}), "does not put [CLS] before"),
        (
            json.dumps(
                {
                    **json.loads(PLAIN),
                    "normalizer": {"type": "Replace", "pattern": {"String": "N"}, "content": ""},
                }
            ),
            "do not tile",
        ),
    ],
)
def test_a_file_that_is_no_such_tokenizer_is_refused(text: str, message: str):
    with pytest.raises(WeightsError, match=re.escape(message)):
        BPETokenizer(text, max_tokens=None)


def test_a_pulled_tokenizer_is_read_from_its_folder(tmp_path: Path):
    folder = tmp_path / "dnabert2-117m"
    with pytest.raises(WeightsError, match=re.escape(str(folder / "tokenizer.json"))):
        BPETokenizer.from_folder(folder, max_tokens=None)
    with pytest.raises(WeightsError, match="random twins need it too"):
        BPETokenizer.from_folder(None, max_tokens=None)
    folder.mkdir()
    (folder / "tokenizer.json").write_text(PLAIN)
    assert BPETokenizer.from_folder(folder, max_tokens=None).sha256 == TOKENIZERS[PLAIN].sha256
