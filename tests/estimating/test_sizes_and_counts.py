"""Bytes and counts of a plan, against the published arithmetic and against what a run really stores."""

import numpy as np
import pytest

from glmstore.errors import LayerError, PlanError, PoolingError, SequenceTooLongError
from glmstore.estimating.clock import Clock
from glmstore.estimating.features import FeatureRequest, estimate_features
from glmstore.estimating.quantity import bytes_text, seconds_text
from glmstore.estimating.tokens import count_tokens
from glmstore.estimating.workload import Workload, parse_shape
from glmstore.extraction import materialize
from glmstore.models import get_model
from glmstore.store import FeatureStore
from glmstore.views import Pooling

NT = "nt-2.5b-multi-species"
K562_ROWS, K562_NT = 393_328, 230
"""Rows of the published K562 lentiMPRA table, both orientations; each makes 41 tokens, one of them CLS."""
PUBLISHED_TOKENS, PUBLISHED_BYTES = 41, 165e9


def lacking(sequences: list[str]) -> Workload:
    return Workload.of(sequences)


def stored_bytes(store: FeatureStore, name: str, view_sequences: list[str], **choices: object) -> int:
    view = materialize(store, name, view_sequences, **choices).view  # type: ignore[arg-type]
    features = store.read(view, store.add_sequences(list(dict.fromkeys(view_sequences))))
    if features.lengths is None:
        return features.values.nbytes
    return int(features.lengths.sum()) * features.values.shape[2] * features.values.itemsize


def test_the_165_gb_of_token_level_nt_on_k562_lentimpra_are_seen_before_the_run() -> None:
    workload = parse_shape(f"{K562_ROWS}x{K562_NT}")
    assert workload is not None
    entry = get_model(NT)
    published = K562_ROWS * PUBLISHED_TOKENS * entry.spec.dim * 4
    assert published == pytest.approx(PUBLISHED_BYTES, rel=0.005)

    tokens = count_tokens(entry, workload)
    with_cls = tokens.total + K562_ROWS
    assert with_cls * entry.spec.dim * 4 == published
    assert (tokens.basis, tokens.total) == ("exact", K562_ROWS * (PUBLISHED_TOKENS - 1))

    clock = Clock("cpu", seconds=0.05)
    request = FeatureRequest(model=NT, pooling="tokens", dtype="float32")
    planned = estimate_features(request, workload, None, clock)
    assert planned.size.value == published - K562_ROWS * entry.spec.dim * 4, "CLS is not stored"
    assert planned.size.text == "161 GB"
    halved = request.model_copy(update={"dtype": "float16"})
    assert estimate_features(halved, workload, None, clock).size.value == planned.size.value / 2


@pytest.mark.parametrize(
    ("model", "pooling"),
    [
        ("gpn-mini", "mean"),
        ("gpn-mini", "mean+max"),
        ("gpn-mini", "tokens"),
        ("kmer3", "mean"),
        ("rand_init:nt-v2-50m:0", "tokens"),
        ("rand_init:nt-v2-50m:0", "nucleotides"),
    ],
)
def test_the_bytes_planned_are_those_a_run_stores(
    store: FeatureStore, clock: Clock, sequences: list[str], model: str, pooling: Pooling
) -> None:
    request = FeatureRequest(model=model, layer=0, pooling=pooling)
    planned = estimate_features(request, lacking(sequences), store, clock)
    assert planned.size.basis == "exact"
    assert planned.size.value == stored_bytes(store, model, sequences, layer=0, pooling=pooling)


def test_only_what_the_store_lacks_is_planned_and_repeats_are_planned_once(
    store: FeatureStore, clock: Clock, sequences: list[str]
) -> None:
    materialize(store, "kmer2", sequences[:10])
    request = FeatureRequest(model="kmer2")
    planned = estimate_features(request, lacking([*sequences, *sequences]), store, clock)
    assert (planned.asked, planned.present, planned.to_compute) == (24, 10, 14)
    assert planned.vectors == 14
    assert planned.nt == sum(map(len, sequences[10:]))
    again = estimate_features(request, lacking(sequences), store, clock, force=True)
    assert again.to_compute == 24


def test_a_full_store_leaves_nothing_to_compute_and_no_time(
    store: FeatureStore, clock: Clock, sequences: list[str]
) -> None:
    materialize(store, "kmer2", sequences)
    planned = estimate_features(FeatureRequest(model="kmer2"), lacking(sequences), store, clock)
    assert (planned.to_compute, planned.size.value, planned.time.value) == (0, 0, 0)


def test_layers_are_filled_in_one_pass_and_stored_one_by_one(
    store: FeatureStore, clock: Clock, sequences: list[str]
) -> None:
    materialize(store, "gpn-mini", sequences, layer=3)
    every = FeatureRequest(model="gpn-mini", layer="all")
    planned = estimate_features(every, lacking(sequences), store, clock)
    layers = get_model("gpn-mini").spec.n_layers + 1
    assert planned.layers == tuple(range(layers))
    assert planned.vectors == 24 * (layers - 1)
    assert planned.to_compute == 24


def test_k_mers_are_counted_with_their_tokenizer_around_every_n(sequences: list[str]) -> None:
    entry = get_model("nt-v2-50m")
    encoded = get_model("rand_init:nt-v2-50m:0").load("cpu").encode(sequences)
    assert count_tokens(entry, lacking(sequences)).total == int((~encoded.special_mask).sum())


def test_without_its_vocabulary_a_bpe_model_is_bounded_and_says_so(
    clock: Clock, sequences: list[str]
) -> None:
    request = FeatureRequest(model="dnabert2-117m", pooling="tokens", layer=1)
    planned = estimate_features(request, lacking(sequences), None, clock)
    nt = sum(map(len, sequences))
    assert planned.size.basis == "at most"
    assert planned.size.value == nt * 768 * 2
    assert "vocabulary is not here" in planned.size.how
    assert not planned.here
    assert planned.views == ()
    assert any("glmstore models pull dnabert2-117m" in note for note in planned.notes)


def test_views_that_a_model_cannot_give_are_refused(clock: Clock, sequences: list[str]) -> None:
    with pytest.raises(LayerError):
        estimate_features(FeatureRequest(model="gpn-mini", layer=99), lacking(sequences), None, clock)
    with pytest.raises(PoolingError):
        estimate_features(FeatureRequest(model="gpn-mini", pooling="cls"), lacking(sequences), None, clock)
    longest = get_model("nt-v2-50m").spec.max_nt
    assert longest is not None
    with pytest.raises(SequenceTooLongError):
        estimate_features(FeatureRequest(model="nt-v2-50m"), lacking(["A" * (longest + 1)]), None, clock)


@pytest.mark.parametrize(
    ("text", "n", "length"), [("10x20", 10, 20), ("1_000×7", 1000, 7), ("2,000 X 5", 2000, 5)]
)
def test_a_shape_is_read_however_it_is_written(text: str, n: int, length: int) -> None:
    workload = parse_shape(text)
    assert workload is not None
    assert (workload.n, workload.nt, workload.longest) == (n, n * length, length)
    assert not workload.identified


def test_a_shape_of_nothing_is_refused_and_a_name_is_none() -> None:
    for wrong in ("0x10", "10x0", "1x99999999999"):
        with pytest.raises(PlanError, match="N×L"):
            parse_shape(wrong)
    assert parse_shape("sortseq_lac") is None
    assert parse_shape("my2x4.fa") is None


def test_a_sample_keeps_the_spread_of_lengths(sequences: list[str]) -> None:
    workload = lacking(sequences)
    sample = workload.sample(6)
    assert len(sample) == 6
    assert np.mean([len(s) for s in sample]) == pytest.approx(workload.nt / workload.n, rel=0.1)
    assert sorted(workload.sample(999)) == sorted(sequences)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1_000, "1.00 kB"), (999_600, "1.00 MB"), (165_147_000_000, "165 GB")],
)
def test_sizes_are_written_in_decimal_units(size: int, text: str) -> None:
    assert bytes_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 s"),
        (0.01, "under 0.1 s"),
        (59.4, "59 s"),
        (61, "1 min 1 s"),
        (7_300, "2 h 1 min"),
        (2e6, "23 d 3 h"),
    ],
)
def test_durations_show_their_two_largest_units(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text
