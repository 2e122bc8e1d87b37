import inspect
from typing import Annotated, ClassVar

import pytest
import typer

from stem_core.cli import options
from stem_core.model._value import value

NEAR = typer.Option("--near")
FAR = typer.Option("--far")


@value
class Place(options.Group):
    last: ClassVar = frozenset({"far"})

    near: Annotated[str, NEAR] = "here"
    far: Annotated[list[str] | None, FAR] = None


@pytest.fixture
def seen():
    return []


@pytest.fixture
def visit(seen):
    @options.command
    def visit(who: str, *, place: Place, again: bool = False) -> None:
        """Go there."""
        seen.append((who, place, again))

    return visit


def test_a_group_is_shown_as_its_fields(visit):
    told = inspect.signature(visit).parameters
    assert list(told) == ["who", "near", "again", "far"]
    assert (told["near"].annotation, told["near"].default) == (Annotated[str, NEAR], "here")
    assert visit.__annotations__["far"] == Annotated[list[str] | None, FAR]
    assert (visit.__name__, visit.__doc__) == ("visit", "Go there.")


def test_the_function_gets_the_group(visit, seen):
    visit(who="ann", near="there", again=True, far=["off"])
    assert seen == [("ann", Place(near="there", far=["off"]), True)]


def test_typer_takes_it_for_any_other(visit, seen):
    cli = typer.Typer()
    cli.command()(visit)
    cli(["ann", "--far", "a", "--far", "b"], standalone_mode=False)
    assert seen == [("ann", Place(near="here", far=["a", "b"]), False)]


def test_parameters_that_the_function_does_not_tell(seen):
    def anything(**given):
        seen.append(given)

    told = inspect.Parameter("place", inspect.Parameter.KEYWORD_ONLY, annotation=Place)
    visit = options.command(anything, [told])
    assert list(inspect.signature(visit).parameters) == ["near", "far"]
    visit(near="x", far=None)
    assert seen == [{"place": Place(near="x")}]
