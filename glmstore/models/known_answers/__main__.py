"""Write the known answers of the families named."""

from __future__ import annotations

import json
import sys

from glmstore.models.catalogue import FAMILIES
from glmstore.models.known_answers import KNOWN, answer

for name in sys.argv[1:]:
    text = ",\n ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in answer(FAMILIES[name]).items())
    (KNOWN / f"{name}.json").write_text(f"{{{text}}}\n")
