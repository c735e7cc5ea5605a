"""Tables: whole when piped, fitted to a terminal without losing what names a thing."""

from __future__ import annotations

from genctl.output import Column, render_table

COLUMNS = [
    Column("ID"),
    Column("NAME", flexible=True),
    Column("KIND", keep=1),
    Column("STATE", state=True),
    Column("REASON", keep=4, flexible=True),
]
ROW = ("j_abcdefghjk", "a-very-long-name-" * 3, "generate", "waiting", "It waits for " + "another job " * 20)


def test_a_piped_table_is_whole_however_wide() -> None:
    shown = render_table(COLUMNS, [ROW], width=None, color=False)

    assert all(cell.strip() in shown for cell in ROW)
    assert len(shown.splitlines()) == 2


def test_a_narrow_terminal_loses_the_least_needed_columns_and_no_id() -> None:
    shown = render_table(COLUMNS, [ROW], width=50, color=False)

    assert "j_abcdefghjk" in shown
    assert "waiting" in shown
    assert "KIND" not in shown
    assert max(len(line) for line in shown.splitlines()) <= 50


def test_a_very_narrow_terminal_still_shows_the_id() -> None:
    shown = render_table(COLUMNS, [ROW], width=20, color=False)

    assert "j_abcdefghjk" in shown


def test_a_piped_table_has_no_colour_and_a_terminal_has() -> None:
    assert "\x1b" not in render_table(COLUMNS, [ROW], width=None, color=False)
    assert "\x1b" in render_table(COLUMNS, [ROW], width=100, color=True)


def test_server_text_in_a_cell_is_neither_obeyed_nor_taken_as_markup() -> None:
    row = ("[red]x[/red]", "\x1b]0;title\x07", ":smile:", "running", None)

    shown = render_table(COLUMNS, [row], width=None, color=False)

    assert "[red]x[/red]" in shown
    assert "\x1b" not in shown
    assert ":smile:" in shown
