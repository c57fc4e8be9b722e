"""Options that say which view of which sequences is meant, alike in every command that takes them."""

from __future__ import annotations

from typing import Annotated

import typer

from glmstore.cli.inputs import Ambiguous
from glmstore.views import DType, Pooling, Strand

Layer = Annotated[
    str | None,
    typer.Option(
        "--layer",
        help="Layer number, 'mid' or 'last'; several with commas between; or 'all'.",
        show_default="the model's own",
    ),
]
ViewPooling = Annotated[
    Pooling | None,
    typer.Option("--pooling", help="How tokens become one.", show_default="the model's own"),
]
ViewStrand = Annotated[Strand, typer.Option("--strand", help="Strand that is embedded.")]
ViewDType = Annotated[DType, typer.Option("--dtype", help="Number type that is stored.")]
SequenceColumn = Annotated[
    str | None,
    typer.Option("--sequence", metavar="COLUMN", help="Sequence column of a table.", show_default="sequence"),
]
AmbiguousLetters = Annotated[
    Ambiguous,
    typer.Option("--ambiguous", help="R, Y and their like: refuse them, or read N."),
]
