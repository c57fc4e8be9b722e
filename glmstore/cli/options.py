"""Options that several commands share, and how they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from glmstore.config import Settings

if TYPE_CHECKING:
    from glmstore.store import FeatureStore
    from glmstore.views import FeatureView

Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URI",
        help="Feature store: a directory or a URI.",
        show_default="GLMSTORE_STORE, else ./.glmstore/store",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of tables for people.")]
View = Annotated[
    str,
    typer.Option(
        "--view",
        metavar="NAME",
        help="A model, for the view `glmstore embed` fills by default; or a view by name, by a prefix that "
        "only it has, or by its id; see `glmstore views`.",
    ),
]


def help_text(text: str) -> str:
    """Return help as Typer wants it: a line for each paragraph, indented lines (examples) as they are."""
    blocks = [block.strip("\n") for block in text.strip("\n").split("\n\n")]
    return "\n\n".join(b if b.startswith(" ") else " ".join(b.split("\n")) for b in blocks)


def store_uri(given: str | None) -> str:
    """Return the URI asked for, or the default store's."""
    return given if given is not None else Settings().store


def open_existing(given: str | None) -> FeatureStore:
    """Open a store to read from.

    Raises
    ------
    StoreNotFoundError
        If there is none; tells how to make one.
    StoreVersionError
        If this glmstore cannot read it.
    """
    from glmstore.errors import StoreNotFoundError
    from glmstore.store import FeatureStore

    uri = store_uri(given)
    try:
        return FeatureStore.open(uri, create=False)
    except StoreNotFoundError as error:
        raise StoreNotFoundError(
            f"no store lies at {uri}. Fill one with `make demo` or `glmstore embed FILE --model gpn-mini`, "
            f"or name another with --store."
        ) from error


def stored_view(store: FeatureStore, name: str) -> FeatureView:
    """Return the view that `--view` names.

    A model's name stands for the view that `glmstore embed` fills when it is told nothing else, where the
    store holds it: other views of the model beside it then need not make the name ambiguous.

    Raises
    ------
    UnknownNameError
        If no view is called so, or several are.
    """
    from glmstore.errors import UnknownNameError, WeightsError
    from glmstore.models.catalogue import get_model

    try:
        return store.view(get_model(name).spec.view().view_id)
    except (UnknownNameError, WeightsError):
        return store.view(name)
