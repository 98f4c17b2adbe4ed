import pytest

from autofix.prompts.attention import parse_attention


@pytest.mark.parametrize(
    ("prompt", "pieces"),
    [
        ("", []),
        ("normal text", [("normal text", 1.0)]),
        ("an (important) word", [("an ", 1.0), ("important", 1.1), (" word", 1.0)]),
        ("(unbalanced", [("unbalanced", 1.1)]),
        (r"\(literal\]", [("(literal]", 1.0)]),
        ("(unnecessary)(parens)", [("unnecessaryparens", 1.1)]),
        (
            "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
            [
                ("a ", 1.0),
                ("house", 1.5730000000000004),
                (" ", 1.1),
                ("on", 1.0),
                (" a ", 1.1),
                ("hill", 0.55),
                (", sun, ", 1.1),
                ("sky", 1.4641000000000006),
                (".", 1.1),
            ],
        ),
        ("[word]", [("word", 1 / 1.1)]),
        ("[[word", [("word", 1 / 1.21)]),
        ("( spaced : 1.2 )", [(" spaced ", 1.2)]),
        ("(minus:-.5)", [("minus", -0.5)]),
        ("10:30) ]", [("10:30) ]", 1.0)]),
        ("(no number:x)", [("no number:x", 1.1)]),
        ("(two points:1.2.3)", [("two points:1.2.3", 1.1)]),
        (r"\\ \( a\b", [(r"\ ( ab", 1.0)]),
        ("two\nlines", [("two\nlines", 1.0)]),
    ],
)
def test_attention_is_parsed_as_a1111_does(prompt, pieces):
    (part,) = parse_attention(prompt)
    assert [text for text, _ in part] == [text for text, _ in pieces]
    assert [weight for _, weight in part] == pytest.approx([weight for _, weight in pieces])


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        ("a BREAK b", [[("a", 1.0)], [("b", 1.0)]]),
        ("a BREAK", [[("a", 1.0)], []]),
        ("BREAKS and OUTBREAK", [[("BREAKS and OUTBREAK", 1.0)]]),
        ("(a BREAK b:2) c", [[("a", 2.0)], [("b", 2.0), (" c", 1.0)]]),
    ],
)
def test_break_parts_a_prompt(prompt, parts):
    assert parse_attention(prompt) == parts
