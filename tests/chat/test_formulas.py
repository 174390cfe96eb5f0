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


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        # Fractions among other operators.
        (r"a/\frac{b}{c}", "a/(b/c)"),
        (r"1/\frac{b}{c}", "1/(b/c)"),
        (r"a \div \frac{b}{c}", "a ÷ (b/c)"),
        (r"a\cdot\frac{b}{c}", "a·(b/c)"),
        (r"a\cdot-\frac{b}{c}", "a·-(b/c)"),
        (r"\frac{a}{b}/c", "(a/b)/c"),
        (r"\frac{a}{b} \cdot c", "(a/b) · c"),
        (r"\frac{a}{b}\div\frac{c}{d}", "(a/b)÷(c/d)"),
        (r"\frac{a}{b}c", "(a/b)c"),
        (r"\frac{a}{b} c", "(a/b) c"),
        (r"\frac{d}{dx} f(x)", "(d/(dx)) f(x)"),
        (r"\frac{a}{b}(c+d)", "(a/b)(c+d)"),
        (r"(x)\frac{a}{b}", "(x)(a/b)"),
        (r"\frac{a}{b}^2", "(a/b)²"),
        (r"\frac{1}{2}^2", "(½)²"),
        (r"-\frac{a}{b}^2", "-(a/b)²"),
        (r"-\frac{a}{b}", "-a/b"),
        (r"x - \frac{a}{b} + y", "x - a/b + y"),
        (r"y = \frac{a}{b}.", "y = a/b."),
        (r"\frac{a}{2},5", "(a/2),5"),
        (r"|\frac{a}{b}|", "|a/b|"),
        (r"\frac{x}{y}!", "(x/y)!"),
        (r"\frac{x}{y}'", "(x/y)'"),
        (r"\frac{x}{y}\%", "(x/y)%"),
        (r"\frac{1}{2}!", "(½)!"),
        (r"\frac{1}{2}3", "(½)3"),
        (r"\frac{1}{2}mv^2", "½mv²"),
        (r"\frac{\frac{a}{b}}{c}", "(a/b)/c"),
        (r"\sin\frac{a}{b}", "sin (a/b)"),
        (r"\sin -\frac{a}{b}", "sin -(a/b)"),
        (r"\log_2\frac{a}{b}", "log₂(a/b)"),
        (r"\sum_{i=1}^n \frac{1}{i}", "∑ᵢ₌₁ⁿ (1/i)"),
        (r"\left(\frac{a}{b}\right)^2", "(a/b)²"),
        # Roots.
        (r"\sqrt{2}3", "√(2)3"),
        (r"\sqrt{12}4", "√(12)4"),
        (r"\sqrt{2},5", "√(2),5"),
        (r"\sqrt{x}y", "√(x)y"),
        (r"\sqrt{x} y", "√(x) y"),
        (r"\sqrt{x}\alpha", "√(x)α"),
        (r"\sqrt{x}\sqrt{y}", "√(x)√y"),
        (r"\sqrt{x}(y+1)", "√(x)(y+1)"),
        (r"\sqrt{x}\left(y\right)", "√(x)(y)"),
        (r"\sqrt{x}^2", "(√x)²"),
        (r"\sqrt{x^2}", "√(x²)"),
        (r"\sqrt{x^4}", "√(x⁴)"),
        (r"\sqrt{x}!", "(√x)!"),
        (r"\sqrt{x}'", "(√x)'"),
        (r"\sqrt[3]{x}y", "∛(x)y"),
        (r"\sqrt[3]{x}^2", "(∛x)²"),
        (r"\sqrt{\sqrt{x}}", "√(√x)"),
        (r"\sqrt{\frac{a}{b}}", "√(a/b)"),
        (r"2\sqrt{3} + 1", "2√3 + 1"),
        (r"\sqrt{x}\cdot y", "√x·y"),
        (r"\frac{\sqrt{x}}{y}", "(√x)/y"),
        # Functions and words.
        (r"\sin x y", "sin x y"),
        (r"\sin{x}y", "sin(x)y"),
        (r"\log{n}", "log(n)"),
        (r"\log_2{n}m", "log₂(n)m"),
        (r"x\text{and}y", "x and y"),
        (r"x\text{and}\alpha", "x and α"),
        (r"x\text{ and }y", "x and y"),
        (r"\operatorname{rank}A", "rank A"),
        (r"\mathrm{d}x", "dx"),
        (r"5\text{kg}", "5kg"),
        # Braces that change nothing.
        (r"{x}y", "xy"),
        (r"1{,}000", "1,000"),
        (r"{x^2}+1", "x²+1"),
        (r"a/{b}", "a/b"),
        (r"x_1^2", "x₁²"),
    ],
)
def test_a_formula_keeps_its_structure(source: str, expected: str) -> None:
    """Brackets replace what LaTeX shows with bars, lines and sizes."""
    assert unicode_formula(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        "{a+b}c", r"{a+b}\cdot c", "c{a+b}", "2{-1}", "2{3}", "{12}3", "a/{bc}", "a/{b}c",
        "√{12}4", "√{x}y", "x_1_2", "x^1^2", "x_1^2_3", "x_1{}_2", r"\sin{x}^2",
        r"2 \frac{1}{2}", r"2 \frac{a}{b}", r"x^2\frac{a}{b}", r"\frac12\frac12",
        r"x^{\frac{a}{b}}", r"\binom{n}{k}", r"{\frac{a}{b}}c", r"\sqrt\sin x",
    ],
)  # fmt: skip
def test_a_formula_with_another_structure_stays(source: str) -> None:
    """Readers would group its parts differently without LaTeX."""
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
