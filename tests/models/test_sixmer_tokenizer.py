"""6-mers: the published order of tokens, N and tails, spans that tile, and the limit of the context."""

import random
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glmstore.errors import SequenceTooLongError
from glmstore.models.tokenizers.sixmer import V1_VOCABULARY, V2_VOCABULARY, SixMerTokenizer, safe_length

V1 = SixMerTokenizer(V1_VOCABULARY, n_ids=4105)
V2 = SixMerTokenizer(V2_VOCABULARY)
PUBLISHED_SHA256 = "c00e0ad166d6ab3f7540ebc92270392e581bb3106763412f29034b49323e1052"
"""Of vocab.txt in InstaDeepAI/nucleotide-transformer-v2-50m-multi-species at 81b29e5."""


def words(tokenizer: SixMerTokenizer, sequence: str) -> list[str]:
    return [tokenizer.strings[i] for i in tokenizer.encode([sequence]).ids[0]][1:]


def random_sequence(seed: int, length: int, share_of_n: float) -> str:
    draw = random.Random(seed)
    return "".join("N" if draw.random() < share_of_n else draw.choice("ACGT") for _ in range(length))


def test_the_second_vocabulary_is_the_published_file():
    assert V2.sha256 == PUBLISHED_SHA256


def test_the_generations_put_the_same_words_at_different_ids():
    assert (len(V1.strings), len(V2.strings)) == (4105, 4107)
    assert (V1.strings.index("AAAAAA"), V2.strings.index("AAAAAA")) == (4, 6)
    # The letters' order is A, T, C, G.
    assert V1.strings[4 + 1] == "AAAAAT"
    assert V1.strings[4 + 4**5] == "TAAAAA"
    assert V1.strings[4 + 4095] == "GGGGGG"
    assert V1.strings[4100:] == ("A", "T", "C", "G", "N")
    assert V1.strings[4:] == V2.strings[6:]
    assert V1.sha256 != V2.sha256


@pytest.mark.parametrize(
    ("sequence", "expected"),
    [
        # Both examples are from the project's own description.
        ("ACGTGTACGTGCACGGACGACTAGTCAGCA", "ACGTGT ACGTGC ACGGAC GACTAG TCAGCA"),
        ("ACGTGTACNTGCACGGANCGACTAGTCTGA", "ACGTGT A C N TGCACG G A N CGACTA GTCTGA"),
        ("NNACGTAC", "N N ACGTAC"),
        ("ACGTACN", "ACGTAC N"),
        ("ACGTA", "A C G T A"),
        ("N", "N"),
    ],
)
def test_n_stands_alone_and_grouping_starts_anew_after_it(sequence: str, expected: str):
    assert words(V1, sequence) == expected.split()
    assert words(V2, sequence) == expected.split()


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    length=st.integers(1, 2000),
    share_of_n=st.sampled_from([0.0, 0.003, 0.2, 1.0]),
)
def test_spans_tile_any_sequence_and_each_token_spells_its_own(seed: int, length: int, share_of_n: float):
    sequence = random_sequence(seed, length, share_of_n)
    batch = V2.encode([sequence])
    spans = batch.spans[0, 1:].tolist()
    assert [start for start, _ in spans] == [0, *(end for _, end in spans[:-1])]
    assert spans[-1][1] == length == int(batch.lengths[0])
    spelled = [V2.strings[i] for i in batch.ids[0, 1:]]
    assert spelled == [sequence[start:end] for start, end in spans]
    assert spelled == re.findall("[ACGT]{6}|.", sequence)


@settings(max_examples=30, deadline=None)
@given(sequences=st.lists(st.text("ACGTN", min_size=1, max_size=60), min_size=1, max_size=6))
def test_a_row_of_a_batch_is_the_sequence_alone_padded_on_the_right(sequences: list[str]):
    batch = V1.encode(sequences)
    for row, sequence in enumerate(sequences):
        alone = V1.encode([sequence])
        width = alone.ids.shape[1]
        for together, single in ((batch.ids, alone.ids), (batch.spans, alone.spans)):
            assert torch.equal(together[row, :width], single[0])
        assert batch.attention_mask[row].tolist() == [i < width for i in range(batch.ids.shape[1])]
        assert batch.special_mask[row].tolist() == [not 0 < i < width for i in range(batch.ids.shape[1])]
        assert set(batch.ids[row, width:].tolist()) <= {1}
        assert int(batch.ids[row, 0]) == 3
        assert not batch.spans[row, width:].any()


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    length=st.integers(1, 600),
    share_of_n=st.sampled_from([0.0, 0.01, 0.3, 1.0]),
)
def test_counting_agrees_with_encoding_on_either_strand(seed: int, length: int, share_of_n: float):
    sequence = random_sequence(seed, length, share_of_n)
    tokens = V2.encode([sequence, sequence[::-1]]).attention_mask.sum(dim=1).tolist()
    assert V2.count([sequence]).tolist() * 2 == tokens


def test_a_sequence_with_too_many_tokens_is_refused_by_its_place_whatever_its_length():
    tokenizer = SixMerTokenizer(V1_VOCABULARY, max_tokens=20)
    assert tokenizer.encode(["A" * 114, "N" * 19]).ids.shape == (2, 20)
    with pytest.raises(SequenceTooLongError, match=r"sequence 1: 21 tokens, and the context takes 20"):
        tokenizer.encode(["A" * 114, "N" * 20])


@pytest.mark.parametrize("max_tokens", [*range(2, 40), 1000, 2048])
def test_up_to_the_safe_length_every_sequence_without_n_fits_and_the_next_does_not(max_tokens: int):
    fits = [1 + length // 6 + length % 6 <= max_tokens for length in range(6 * max_tokens)]
    assert fits.index(False) - 1 == safe_length(max_tokens)
