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


def group_of(groups: Mapping[str, Mapping[str, tuple[str, str]]]) -> type[TyperGroup]:
    """A group of commands, listed under these headings: of each name its place and its first sentence."""

    class LazyGroup(TyperGroup):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            for table in groups.values():
                self.commands.update({name: LazyCommand(name, *entry) for name, entry in table.items()})

        def invoke(self, ctx: Any) -> Any:
            """Run what was asked for; what is wrong with a value is said without pydantic's own words."""
            try:
                return super().invoke(ctx)
            except typer.BadParameter as error:
                from config.errors import plain

                error.message = plain(error.message)
                raise

        def format_commands(self, ctx: Any, formatter: Any) -> None:
            """The commands under their headings, in one column of names."""
            longest = max(map(len, self.commands))
            for heading, table in groups.items():
                with formatter.section(heading):
                    told = [
                        (name.ljust(longest), self.commands[name].get_short_help_str(2 * formatter.width))
                        for name in table
                    ]
                    formatter.write_dl(told)

    return LazyGroup
