from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_mlx.chat.formulas import is_formula, unicode_formula


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x_1", "x₁"),
        ("x_{ij}^2", "xᵢⱼ²"),
        (r"\alpha \le \beta", "α ≤ β"),
        (r"\alpha\le\beta", "α≤β"),
        (r"2\pi r", "2πr"),
        (r"\frac{1}{2}", "½"),
        (r"\frac12", "½"),
        (r"\frac{a+b}{c}", "(a+b)/c"),
        (r"\frac{-b \pm \sqrt{b^2-4ac}}{2a}", "(-b ± √(b²-4ac))/(2a)"),
        (r"\sqrt[3]{8}", "∛8"),
        (r"\sum_{i=1}^{n} i", "∑ᵢ₌₁ⁿ i"),
        (r"f: \mathbb{R} \to \mathbb{R}", "f: ℝ → ℝ"),
        (r"\{a, b\}", "{a, b}"),
        (r"O(n \log n)", "O(n log n)"),
        (r"\text{speed} = \frac{d}{t}", "speed = d/t"),
        (r"\left(\frac{1}{2}\right)^2", "(½)²"),
        (r"90^\circ", "90°"),
        (r"\bar{x}", "x\u0304"),
    ],
)
def test_a_simple_formula_is_unicode(source: str, expected: str) -> None:
    """All of it has a Unicode form."""
    assert unicode_formula(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        r"\unknown{x}",
        "x^{q}",
        "x_{1,2}",
        "x^{2^2}",
        "{a+b}^2",
        r"a \\ b",
        "a & b",
        r"\frac{a}{b}c",
        r"c\frac{a}{b}",
        r"1\frac{1}{2}",
        r"\lim_{x \to 0}",
        r"\begin{x}",
        "x^",
        "_1",
        "{",
        "}",
        "\\",
        "x" * 400,
        r"\sqrt" * 50,
        "{" * 40 + "}" * 40,
    ],
)
def test_a_formula_that_would_lose_something_stays(source: str) -> None:
    """One character without a form is enough, or a meaning that would be another."""
    assert unicode_formula(source) is None


@pytest.mark.parametrize("source", ["5 and ", "5, or 5", "US and AU", "HOME/bin:", "5"])
def test_money_is_no_formula(source: str) -> None:
    """Shell variables are not formulas either."""
    assert not is_formula(source)


PARTS = st.sampled_from([*r"x1+={}^_\ &", r"\frac", r"\sqrt", r"\left", r"\text", r"\bar"])


@settings(deadline=None, database=None, derandomize=True, max_examples=200)
@given(st.lists(PARTS, max_size=60).map("".join))
def test_any_formula_is_read_at_once(source: str) -> None:
    """No exception is raised, and no letter is lost."""
    begun = time.process_time()
    formula = unicode_formula(source)

    assert time.process_time() - begun < 0.5
    assert formula is None or formula.count("1") <= source.count("1")
