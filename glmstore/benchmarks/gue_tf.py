"""GUE human transcription-factor binding: five balanced sets of 101-nt sequences with an official split."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from glmstore.benchmarks.base import Benchmark, BenchmarkData, BenchmarkSpec, Source
from glmstore.data.items import make_items
from glmstore.data.leakage import leakage_facts, leakage_report
from glmstore.data.readers import read_table
from glmstore.errors import LabelError

if TYPE_CHECKING:
    from glmstore.data.fetch import Fetcher

_BASE = (
    "https://raw.githubusercontent.com/wds-seu/DeepGene/486343e5212361d6cd7ed03c624f430ed3d5f02e/data/GUE/tf"
)
_PARTS = {"train": "train", "dev": "valid", "test": "test"}
_SHA256 = {
    0: (
        "930080e019fb92961cbd71998839466c2fc4c34da8fc174999a2ed04ef46822f",
        "17ff638046d146102a86b727adc9ddead9f1f1793577a38961e1f3319da7f738",
        "d29934d0df424a91ef70f6a62671d9d1c4661b485d7010983b49c8bcfba6aeab",
    ),
    1: (
        "29dc3c962cc4e4d7161238bb4d0b84583f7794b246a622f81bf30e83e3ae8685",
        "fbffd591300e9ef192d131c139322cbe8e3fb87fae4f52236f64588d3975b8d1",
        "8995d9d9176d56aa6e3a7014dfcf61ad45bc25a59fba1faca9864250ce42008a",
    ),
    2: (
        "7f7483c2179242b6f42dd3578640e1496478e56e627e8fabd2ac79e088b1cbaa",
        "002168deb50cebb8dc94a9268e220d0ffa49068e4d9ae28b5873b74ba287c4a1",
        "78de7c31aea4393b98387f6768cc9144fc912c9391c6b20d27028e355a95c4f1",
    ),
    3: (
        "c4191038363919af593d4f68428e00e6320e3a35902575f1c5c0828954e25a88",
        "b878776f73bd503a371d1d8c0a77058da409ff3f3799901e017f764b07a0d0ef",
        "56d8d76fdcf98c8a444b26794099ef26185872371f62a7565f602181dd533903",
    ),
    4: (
        "7b43fcec55a8ae0f44e826566be776984c37200a175c684ec2e68650aebd483c",
        "4a18b9d9a6a4f77f6978d251b784ab554c127aca89c9fdb4546d81c20a47c436",
        "55f4ad82c52c7ced861c5df835e5b11e3b2b15d53f4d7743f47bda6b2844b980",
    ),
}


def _sources(number: int) -> tuple[Source, ...]:
    return tuple(
        Source(url=f"{_BASE}/{number}/{part}.csv", sha256=sha256, licence="Apache-2.0")
        for part, sha256 in zip(_PARTS, _SHA256[number], strict=True)
    )


def _load(number: int, fetcher: Fetcher) -> BenchmarkData:
    ids: list[str] = []
    sequences: list[str] = []
    split: list[str] = []
    labels = []
    for (part, name), source in zip(_PARTS.items(), _sources(number), strict=True):
        table = read_table(fetcher.fetch(source.url, source.sha256))
        values = table.numbers("label")
        odd = np.flatnonzero(~np.isin(values, (0, 1)))
        if odd.size:
            raise LabelError(f"{table.where(int(odd[0]), 'label')}: {values[odd[0]]:g} is neither 0 nor 1.")
        ids += [f"{part}.csv:{line}" for line in table.lines]
        sequences += table.sequences("sequence")
        split += [name] * len(table)
        labels.append(values)
    facts: dict[str, float | int | str] = {
        "duplicate_rows": len(sequences) - len(set(sequences)),
        **leakage_facts(leakage_report(sequences, split, near=None)),
    }
    return BenchmarkData(make_items(ids, sequences, np.concatenate(labels), split), facts)


def _benchmark(number: int) -> Benchmark:
    return Benchmark(
        spec=BenchmarkSpec(
            name=f"gue_tf_{number}",
            title=f"GUE human TF binding, set {number}",
            family="TF binding",
            label_kind="binary",
            label="1: centre of a ChIP-seq peak of the factor; 0: matched background",
            metrics=("auroc", "auprc", "mcc"),
            split="official",
            sequence_length=101,
            organism="Homo sapiens",
            sources=_sources(number),
            citation="Zhou et al. 2024, DNABERT-2 and the GUE benchmark, ICLR, arXiv:2306.15006",
            notes=(
                "Rows are kept as published, with their duplicates and the few that training and held-out "
                "parts share (see the facts); rows of one sequence are resampled together. GUE ranks by mcc."
            ),
        ),
        load=partial(_load, number),
    )


gue_tf = tuple(_benchmark(number) for number in _SHA256)
