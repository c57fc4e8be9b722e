"""A store of what models make of sequences.

The entity is the sequence, keyed by its content. A *feature view* is one model, revision, layer, pooling,
strand and number type; each has tables of its own, and the origin of its numbers beside them. Benchmarks,
result rows and per-item predictions lie in the same store.

"As of" a snapshot means as of a version of the store: what had been written by then. It has nothing to do
with the time of any event in the data, and there is no online store: features are read in bulk, to train and
to judge.

>>> import numpy as np
>>> from glmstore.store import FeatureStore
>>> from glmstore.views import FeatureView, Provenance
>>> store = FeatureStore.open("memory://")
>>> acgt, ttag = store.add_sequences(["ACGT", "TTAG"])
>>> view = FeatureView(model="kmer1", revision="1", layer=0, pooling="mean", dtype="float32")
>>> origin = Provenance(
...     model_spec={}, weights_sha256=None, tokenizer_sha256=None,
...     dim=4, code_version="0.1", precision="float32",
... )
>>> store.declare(view, origin)
>>> store.missing(view, [ttag, acgt]) == [ttag, acgt]
True
>>> store.write(view, [acgt, ttag], np.array([[1, 1, 1, 1], [1, 0, 1, 2]]))
2
>>> store.read(view, [ttag, acgt, ttag]).values
array([[1., 0., 1., 2.],
       [1., 1., 1., 1.],
       [1., 0., 1., 2.]], dtype=float32)
>>> before = store.snapshot("before")
>>> store.drop(view)
>>> store.missing(view, [acgt]) == [acgt], store.at(before).missing(view, [acgt])
(True, [])
"""

from glmstore.store.check import StoreReport
from glmstore.store.feature_store import FeatureStore
from glmstore.store.features import Features
from glmstore.store.snapshots import Snapshot

__all__ = ["FeatureStore", "Features", "Snapshot", "StoreReport"]
