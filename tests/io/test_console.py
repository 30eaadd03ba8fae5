import io

from rich.console import Console
from rich.table import Table

from invdesign.io.console import print_whole


def shown(width: int, *, terminal: bool) -> str:
    table = Table(box=None)
    table.add_column("what", overflow="fold")
    table.add_column("figure", no_wrap=True)
    table.add_row("words " * 40, "-0.123 ± 0.045")
    text = io.StringIO()
    console = Console(file=text, width=width, force_terminal=terminal, color_system=None)
    print_whole(table, console)
    assert console.width == width
    return text.getvalue()


def test_no_value_is_cut():
    for width in (20, 40, 80):
        assert "-0.123 ± 0.045" in shown(width, terminal=True)
        assert ("words " * 40).strip() in shown(width, terminal=False)


def test_a_wide_terminal_folds_words_at_its_edge():
    assert max(map(len, shown(80, terminal=True).splitlines())) <= 80
