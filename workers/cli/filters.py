"""Options that narrow orders, the same in every command that lists or chooses them."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from orders.states import Reason
from workers.cli.completion import backends, clients


def product(given: str) -> str:
    """The 13 digits of a product. BadParameter."""
    from orders.identifiers import product as product_code

    try:
        return product_code(given)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Of = Annotated[Reason | None, typer.Option(help="Only dead letters of this reason.")]
OfBackend = Annotated[str | None, typer.Option("--backend", autocompletion=backends, help="Only this backend's.")]
Client = Annotated[str | None, typer.Option(autocompletion=clients, help="Only what this client handed over.")]
OfPriority = Annotated[Literal["urgent", "normal"] | None, typer.Option("--priority", help="Only these orders.")]
Product = Annotated[
    str | None, typer.Option(parser=product, metavar="CODE", help="Only those with it: CIP13, ACL13, UCD13, CIP7.")
]
