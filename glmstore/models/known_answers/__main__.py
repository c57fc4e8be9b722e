"""Write known answers: of families on tiny weights, of models that come with the package on theirs."""

from __future__ import annotations

import json
import sys

from glmstore.models.catalogue import FAMILIES, MODELS
from glmstore.models.checkpoints.checking import ANSWER, shipped_answer
from glmstore.models.checkpoints.presence import shipped_folder
from glmstore.models.known_answers import KNOWN, answer

for name in sys.argv[1:]:
    folder = shipped_folder(name)
    if folder is not None:
        (folder / ANSWER).write_text(shipped_answer(MODELS[name]).model_dump_json(indent=1) + "\n")
        continue
    text = ",\n ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in answer(FAMILIES[name]).items())
    (KNOWN / f"{name}.json").write_text(f"{{{text}}}\n")
