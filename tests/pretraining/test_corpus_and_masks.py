"""What is trained on, what is held out, and what the network is shown."""

import gzip

import numpy as np
import pytest
from pydantic import ValidationError

from glmstore.errors import AlphabetError, EmptySequenceError, TableError
from glmstore.pretraining import HoldOut, PretrainConfig
from glmstore.pretraining.corpus import (
    CropSampler,
    Piece,
    cut,
    load_corpus,
    place,
    read_fasta,
    reverse_complement_ids,
    to_ids,
    without_gaps,
)
from glmstore.pretraining.masking import corrupt

HOLD = HoldOut(region_nt=10, every=3, offset=1)


def test_fasta_is_read_plain_and_gzipped_with_ambiguous_letters_as_n(tmp_path):
    text = ">chr1:5-13 first\nACGT\nacgR\n>two\nTTN\n"
    (tmp_path / "a.fa").write_text(text)
    with gzip.open(tmp_path / "a.fa.gz", "wt") as handle:
        handle.write(text)
    for name in ("a.fa", "a.fa.gz"):
        assert list(read_fasta(tmp_path / name)) == [("chr1:5-13 first", "ACGTACGN"), ("two", "TTN")]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("ACGT\n", TableError, "first line is not a FASTA header"),
        ("", EmptySequenceError, "holds no record"),
        (">a\n>b\nACGT\n", EmptySequenceError, "record a"),
        (">a\nACGT\n>b\nAC-T\n", AlphabetError, "record b"),
    ],
)
def test_a_fasta_that_cannot_be_used_is_refused_by_record(tmp_path, text, error, message):
    (tmp_path / "bad.fa").write_text(text)
    with pytest.raises(error, match=message):
        list(read_fasta(tmp_path / "bad.fa"))


def test_a_missing_fasta_is_refused(tmp_path):
    with pytest.raises(TableError, match="no such file"):
        list(read_fasta(tmp_path / "none.fa"))


def test_records_lie_where_their_header_says_or_end_to_end():
    records = iter([("chr1:100-104", "ACGT"), ("contig", "ACG"), ("chr1:7-9", "ACGT")])
    assert [(p.name, p.start) for p in place(records)] == [
        ("chr1", 100),
        ("contig", 4),
        ("chr1:7-9", 7),
    ]


def test_a_piece_is_cut_at_the_borders_of_held_out_stretches():
    piece = Piece("chr1", 5, np.arange(40, dtype=np.uint8))
    parts = list(cut(piece, HOLD))
    assert [(held, p.start, p.start + len(p.ids)) for held, p in parts] == [
        (False, 5, 10),
        (True, 10, 20),
        (False, 20, 40),
        (True, 40, 45),
    ]
    assert np.concatenate([p.ids for _, p in parts]).tolist() == list(range(40))


def test_no_held_out_position_is_trained_on(fasta):
    hold = HoldOut(region_nt=800, every=5, offset=2)
    corpus = load_corpus(fasta, hold)
    for pieces, held in ((corpus.train, False), (corpus.heldout, True)):
        for piece in pieces:
            positions = np.arange(piece.start, piece.start + len(piece.ids))
            assert ((positions // 800 % 5 == 2) == held).all()
    assert corpus.facts.train_nt + corpus.facts.heldout_nt == 4 * 3_200
    assert corpus.facts.heldout_regions == (
        "chrT:1600-2400",
        "chrT:5600-6400",
        "chrT:9600-10400",
        "chrT:13600-14400",
    )


def test_a_corpus_that_leaves_nothing_held_out_is_refused(fasta):
    with pytest.raises(TableError, match="0 pieces are held out"):
        load_corpus(fasta, HoldOut(region_nt=1_000_000, every=20, offset=10))


def test_reverse_complement_of_ids_is_that_of_letters():
    assert reverse_complement_ids(to_ids("AACGTN")).tolist() == to_ids("NACGTT").tolist()


def test_crops_lie_within_one_piece_and_every_start_is_equally_likely():
    pieces = [Piece("", 0, to_ids(sequence)) for sequence in ("AAAAAA", "CCC", "AACAAAAA")]
    crops = CropSampler(pieces).draw(np.random.default_rng(0), 8_000, 4)
    words, counts = np.unique(crops, axis=0, return_counts=True)
    found = {"".join("ACGT"[i - 3] for i in w): n / 8_000 for w, n in zip(words, counts, strict=True)}
    forward = {"AAAA": 5, "AACA": 1, "ACAA": 1, "CAAA": 1}
    expected = {word: n / 16 for word, n in forward.items()}
    expected |= {"TTTT": 5 / 16, "TGTT": 1 / 16, "TTGT": 1 / 16, "TTTG": 1 / 16}
    assert found == pytest.approx(expected, abs=0.02)


def test_crops_longer_than_every_piece_are_refused():
    with pytest.raises(TableError, match="9 nt long"):
        CropSampler([Piece("a", 0, to_ids("ACGTACGT"))]).draw(np.random.default_rng(0), 1, 9)


def test_masks_hide_fifteen_percent_as_bert_does():
    rng = np.random.default_rng(0)
    ids = rng.integers(3, 7, (400, 500)).astype(np.uint8)
    shown, chosen = corrupt(rng, ids, 0.15)
    assert chosen.mean() == pytest.approx(0.15, abs=0.003)
    assert np.array_equal(shown[~chosen], ids[~chosen])
    assert (shown[chosen] == 1).mean() == pytest.approx(0.8, abs=0.01)
    assert (shown[chosen] == ids[chosen]).mean() == pytest.approx(0.1 + 0.1 / 4, abs=0.01)
    assert set(np.unique(shown)) == {1, 3, 4, 5, 6}


def test_n_is_never_predicted():
    ids = np.full((50, 50), 2, dtype=np.uint8)
    shown, chosen = corrupt(np.random.default_rng(0), ids, 0.5)
    assert not chosen.any()
    assert np.array_equal(shown, ids)


def test_records_are_split_at_gaps_and_not_at_letters_nobody_could_read():
    sequence = "N" * 12 + "ACGT" * 3 + "N" * 9 + "ACG" + "N" * 10 + "TT"
    found = list(without_gaps(Piece("chr1", 100, to_ids(sequence))))
    assert [(p.start, len(p.ids)) for p in found] == [(112, 24), (146, 2)]
    assert all(np.array_equal(p.ids, to_ids(sequence)[p.start - 100 :][: len(p.ids)]) for p in found)
    assert list(without_gaps(Piece("chr1", 0, to_ids("N" * 40)))) == []


HG38 = {
    "chr1": "ACGT" * 20 + "N" * 30 + "GGCC" * 20,
    "chr8": "N" * 15 + "TTAC" * 20,
    "chrX": "CATG" * 20,
    "chr1_KI270706v1_random": "ACAC" * 5,
    "chr8_KI270810v1_alt": "TTAC" * 6,
    "chr8_KZ208914v1_fix": "TTAC" * 7,
    "chrUn_GL000195v1": "TGTG" * 8,
}
"""The names of records in UCSC's hg38."""


@pytest.fixture
def hg38(tmp_path):
    path = tmp_path / "hg38.fa"
    path.write_text("".join(f">{name}\n{sequence}\n" for name, sequence in HG38.items()))
    return path


def letters(pieces):
    return ["".join("..NACGT"[i] for i in piece.ids) for piece in pieces]


def test_alternate_and_unplaced_records_are_not_used(hg38):
    corpus = load_corpus(hg38, HoldOut(names=("chr8",)))
    assert letters(corpus.train) == ["ACGT" * 20, "GGCC" * 20, "CATG" * 20]
    assert letters(corpus.heldout) == ["TTAC" * 20]
    facts = corpus.facts
    assert (facts.records, facts.left_out_records, facts.left_out_nt) == (3, 4, 4 * (5 + 6 + 7 + 8))
    assert facts.left_out_names == tuple(name for name in HG38 if "_" in name)
    assert (facts.gap_nt, facts.train_nt, facts.heldout_nt) == (45, 240, 80)
    assert facts.chromosomes == ("chr1", "chrX")


def test_where_all_records_are_used_those_of_a_held_out_chromosome_are_held_out_with_it(hg38):
    corpus = load_corpus(hg38, HoldOut(names=("chr8",), leave_out=()))
    assert {p.name for p in corpus.train} == {"chr1", "chrX", "chr1_KI270706v1_random", "chrUn_GL000195v1"}
    assert {p.name for p in corpus.heldout} == {"chr8", "chr8_KI270810v1_alt", "chr8_KZ208914v1_fix"}
    assert corpus.facts.left_out_records == 0
    assert corpus.facts.chromosomes is None  # nobody knows where chrUn lies


def test_holding_out_a_chromosome_spares_those_whose_names_begin_alike(tmp_path):
    path = tmp_path / "two.fa"
    path.write_text(">chr1\nACGTACGT\n>chr18\nTTTTGG\n")
    assert [p.name for p in load_corpus(path, HoldOut(names=("chr1",))).train] == ["chr18"]


@pytest.mark.parametrize("name", ["contig_7", "NC_000001.11", "Chr1", "scaffold1"])
def test_names_that_are_no_chromosomes_say_nothing_of_what_was_seen(tmp_path, name):
    path = tmp_path / "two.fa"
    path.write_text(f">{name}\nACGTACGT\n>chr2\nTTTTGG\n")
    assert load_corpus(path, HoldOut(names=("chr2",))).facts.chromosomes is None


def test_a_fasta_of_which_nothing_is_used_is_refused(tmp_path):
    path = tmp_path / "alts.fa"
    path.write_text(">chr1_GL1_alt\nACGTACGT\n>chrUn_GL2\nTTTTGG\n")
    with pytest.raises(TableError, match=r"2 records are not used, by holdout\.leave_out"):
        load_corpus(path, HoldOut(region_nt=4, every=2, offset=1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "exactly one budget"),
        ({"steps": 1, "minutes": 1.0}, "exactly one budget"),
        ({"steps": 1, "crop_lengths": (16,)}, "at least 32"),
        ({"steps": 1, "batch_nt": 100}, "at least one crop"),
        ({"steps": 1, "holdout": {"every": 3, "offset": 3}}, "offset must be below"),
        ({"steps": 1, "holdout": {"leave_out": ["("]}}, "is no regular expression"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        PretrainConfig(fasta="a.fa", out_dir="run", **settings)


def test_whole_chromosomes_can_be_held_out_by_name(tmp_path):
    path = tmp_path / "two.fa"
    path.write_text(">chr1 first\nACGTACGT\n>chr8\nTTTTGG\n>chr8:100-104\nGGCC\n")
    corpus = load_corpus(path, HoldOut(names=("chr8",)))
    assert [p.name for p in corpus.train] == ["chr1"]
    assert [len(p.ids) for p in corpus.heldout] == [6, 4]
    assert corpus.facts.heldout_regions == ("chr8",)
    with pytest.raises(TableError, match=r"no record is called chr9, .* first names: chr1"):
        load_corpus(path, HoldOut(names=("chr8", "chr9")))
