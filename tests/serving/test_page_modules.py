"""The page's pure modules, run where they run: in a browser."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

OpenPage = Callable[..., Any]


@pytest.fixture
def run(open_page: OpenPage) -> Callable[[str], Any]:
    page = open_page("tales", "write")
    modules = """
      const tokens = await import('/page/tokens.js');
      const trees = await import('/page/tree.js');
      const token = (id, text, special = false) => ({ id, text, special, bits: 1, mine: true });
    """
    return lambda body: page.evaluate(f"async () => {{ {modules} {body} }}")


def test_an_edit_leaves_the_tokens_that_it_does_not_touch(run: Callable[[str], Any]) -> None:
    kept = run(
        """const words = ['one', ' two', ' three'].map((text, n) => token(n + 1, text));
        const texts = ['one 2 three', 'one two three!', '', 'two', 'one two three',
          'xone two three', 'one three'];
        return texts.map((text) => {
          const now = tokens.edit([token(0, '', true), ...words], text);
          return [tokens.textOf(now), now.map(({ id }) => id)];
        });"""
    )
    assert kept == [
        ["one 2 three", [0, 1, None, 3]],
        ["one two three!", [0, 1, 2, 3, None]],
        ["", [0]],
        ["two", [0, None]],
        ["one two three", [0, 1, 2, 3]],
        ["xone two three", [0, None, 1, 2, 3]],
        ["one three", [0, 1, None]],
    ]


def test_any_edit_of_any_text_gives_that_text(run: Callable[[str], Any]) -> None:
    wrong = run(
        """let seed = 7;
        const draw = (n) => { seed = (seed * 1103515245 + 12345) % 2147483648; return seed % n; };
        const word = () => ['a', 'ab', '', 'ba', '👩', 'é', ' a'][draw(7)];
        let wrong = 0;
        for (let round = 0; round < 3000; round += 1) {
          const before = [...Array(draw(7))].map((_, n) => token(n, word(), !draw(9)));
          const text = [...Array(draw(7))].map(word).join('');
          if (tokens.textOf(tokens.edit(before, text)) !== text) wrong += 1;
        }
        return wrong;"""
    )
    assert wrong == 0


def test_a_place_belongs_to_the_first_token_of_its_character(run: Callable[[str], Any]) -> None:
    numbers = run(
        """const all = ['a', '', '你', 'b'].map((text, n) => token(n + 1, text));
        all.unshift(token(0, '', true));
        return [0, 1, 2, 3].map((place) => tokens.tokenAt(all, place));"""
    )
    assert numbers == [1, 2, 4, 5]
    assert run(
        """const cells = tokens.cellsOf([token(1, ''), token(2, '你'), token(3, 'b')]);
        return cells.map(({ first, last, bits }) => [first, last, bits]);"""
    ) == [[0, 1, 2], [2, 2, 1]]


def test_a_tree_grows_forks_and_loses_branches(run: Callable[[str], Any]) -> None:
    shape = run(
        """const all = [1, 2, 3, 4].map((id) => token(id, String(id)));
        let tree = trees.fork(trees.begin(all), 4, [token(5, '5')]);
        const grown = tree.branches.length;
        tree = trees.fork(tree, 2, [token(9, '9'), token(8, '8')]);
        tree = trees.fork(tree, 3, [token(7, '7')]);
        const again = trees.fork(trees.open(tree, 1), 2, [token(9, '9'), token(7, '7')]);
        const rows = (t) => trees.outline(t).map((b) => [b.depth, tokens.textOf(b.tokens)]);
        return { grown, rows: rows(tree), again, less: rows(trees.remove(tree, 2)) };"""
    )
    assert shape["grown"] == 1, "at its end a text grows"
    assert shape["rows"] == [[0, "12345"], [1, "1298"], [2, "1297"]]
    assert len(shape["again"]["branches"]) == 3 and shape["again"]["current"] == 3, "it was there"
    assert shape["less"] == [[0, "12345"], [1, "1297"]], "what left it hangs where it hung"


def test_letters_typed_in_a_row_are_undone_together(run: Callable[[str], Any]) -> None:
    seen = run(
        """let history = trees.record('');
        history = trees.step(history, 'a', 'typing');
        history = trees.step(history, 'ab', 'typing');
        history = trees.step(history, 'ab!');
        history = trees.step(history, 'ab!c', 'typing');
        const states = [];
        for (const travel of [...Array(4).fill(trees.undo), ...Array(4).fill(trees.redo)]) {
          history = travel(history);
          states.push(history.present);
        }
        return states;"""
    )
    assert seen == ["ab!", "ab", "", "", "ab", "ab!", "ab!c", "ab!c"]


def test_a_change_of_a_share_is_in_points_and_a_share_in_percent(run: Callable[[str], Any]) -> None:
    shown = run(
        """const ui = await import('/page/ui.js');
        return [[0.42, 0.0074, 0.00051, 0.00001, 0].map(ui.percent),
          [0.42, -0.42, 0.0074, -0.00051].map(ui.points)];"""
    )
    assert shown == [["42 %", "0.74 %", "0.05 %", "≈ 0", "0"], ["+42", "−42", "+0.74", "−0.05"]]


CODE = [
    "def read_lines(self, path):\n    ",
    "import os\n\nclass Reader:\n    def __init__(self):\n        self.x = 1",
    "for (let at = 0; at < n; at += 1) {\n  seen.add(at);\n}",
    "#include <stdio.h>\nint main() {\n  return 0;\n}",
    "os.environ.append('a')\nself.write(b)",
]
PROSE = [
    "",
    "The old king sat on",
    "From the hill he looked down.\nLet us go; for the night is near.",
    "“Class dismissed,” she said.\n\nIf it rains, we stay.\nWith him went a dog.",
    "从前有座山，\n山里有座庙；",
    "Try it (he said), and import nothing.",
]


@pytest.mark.parametrize(("texts", "expected"), [(CODE, True), (PROSE, False)])
def test_code_is_told_from_prose(
    run: Callable[[str], Any], texts: list[str], expected: bool
) -> None:
    body = f"""const {{ isCode }} = await import('/page/code.js');
        return {json.dumps(texts)}.map(isCode);"""
    assert run(body) == [expected] * len(texts)
