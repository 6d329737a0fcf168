"""Commands that are imported when they are used: `relais --help` and Tab know name and first sentence without that."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from collections.abc import Mapping


class LazyCommand(TyperCommand):
    """Stands for the command or group of commands at `place` (`module:name` in `workers.cli.commands`) until then."""

    def __init__(self, name: str, place: str, help: str) -> None:
        super().__init__(name, help=help, rich_markup_mode=None)
        self._name, self._place = name, place

    def loaded(self) -> Any:
        """The command or group itself."""
        module, _, attribute = self._place.partition(":")
        found = getattr(import_module(f"workers.cli.commands.{module}"), attribute)
        around = typer.Typer(rich_markup_mode=None)
        if isinstance(found, typer.Typer):
            around.add_typer(found, name=self._name)
        else:
            around.command(self._name)(found)
        return typer.main.get_group(around).commands[self._name]

    def make_context(self, *arguments: Any, **extra: Any) -> typer.Context:
        """The context of the command itself, which is what is invoked and completed from here on."""
        context: typer.Context = self.loaded().make_context(*arguments, **extra)
        return context


def group_of(table: Mapping[str, tuple[str, str]]) -> type[TyperGroup]:
    """A group of the commands in `table`: of each name its place and its first sentence."""

    class LazyGroup(TyperGroup):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            self.commands.update({name: LazyCommand(name, *entry) for name, entry in table.items()})

    return LazyGroup
