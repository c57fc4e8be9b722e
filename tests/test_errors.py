import pickle

import pytest

from glmstore import errors

SAMPLES = [
    errors.UnknownNameError("model", "gpn-mnii", ["gpn-mini", "onehot"]),
    errors.MissingFeaturesError("v", ["a" * 32], 3),
    errors.AlphabetError("row 7", "letter 'Z' at position 3", "Use nucleotides"),
    errors.ChecksumError("x"),
]


@pytest.mark.parametrize("error", SAMPLES, ids=lambda e: type(e).__name__)
def test_an_error_survives_the_way_between_processes(error: errors.GlmstoreError) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  (our own bytes)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_an_unknown_name_suggests_the_nearest() -> None:
    assert "Did you mean gpn-mini?" in str(SAMPLES[0])


def test_a_missing_key_error_reads_without_quotes() -> None:
    assert str(SAMPLES[1]).startswith("view v lacks 1 of the 3 keys")
