"""LaTeX's symbol names, and the characters with a superscript or subscript form."""

from __future__ import annotations

__all__ = [
    "ACCENTS",
    "BLACKBOARD",
    "FRACTIONS",
    "FUNCTIONS",
    "SPACES",
    "SUBSCRIPTS",
    "SUPERSCRIPTS",
    "SYMBOLS",
]

_NAMES = r"""
alpha α beta β gamma γ delta δ epsilon ϵ varepsilon ε zeta ζ eta η theta θ vartheta ϑ
iota ι kappa κ lambda λ mu μ nu ν xi ξ omicron ο pi π varpi ϖ rho ρ varrho ϱ sigma σ
varsigma ς tau τ upsilon υ phi ϕ varphi φ chi χ psi ψ omega ω
Gamma Γ Delta Δ Theta Θ Lambda Λ Xi Ξ Pi Π Sigma Σ Upsilon Υ Phi Φ Psi Ψ Omega Ω
le ≤ leq ≤ leqslant ⩽ ge ≥ geq ≥ geqslant ⩾ ne ≠ neq ≠ equiv ≡ approx ≈ sim ∼ simeq ≃
cong ≅ propto ∝ ll ≪ gg ≫ prec ≺ succ ≻ lt < gt > doteq ≐ mid ∣ nmid ∤ parallel ∥ perp ⊥
pm ± mp ∓ times × div ÷ cdot · ast ∗ star ⋆ circ ∘ bullet • oplus ⊕ ominus ⊖ otimes ⊗
odot ⊙ wedge ∧ land ∧ vee ∨ lor ∨ neg ¬ lnot ¬ cap ∩ cup ∪ setminus ∖ uplus ⊎
in ∈ notin ∉ ni ∋ subset ⊂ subseteq ⊆ supset ⊃ supseteq ⊇ subsetneq ⊊ emptyset ∅
varnothing ∅ forall ∀ exists ∃ nexists ∄ top ⊤ bot ⊥ vdash ⊢ models ⊨ therefore ∴ because ∵
to → rightarrow → leftarrow ← gets ← leftrightarrow ↔ Rightarrow ⇒ Leftarrow ⇐
Leftrightarrow ⇔ implies ⟹ impliedby ⟸ iff ⟺ longrightarrow ⟶ longleftarrow ⟵ mapsto ↦
longmapsto ⟼ uparrow ↑ downarrow ↓ rightleftharpoons ⇌ hookrightarrow ↪ nearrow ↗ searrow ↘
sum ∑ prod ∏ coprod ∐ int ∫ iint ∬ iiint ∭ oint ∮ partial ∂ nabla ∇ infty ∞ angle ∠
degree ° prime ′ hbar ℏ ell ℓ Re ℜ Im ℑ wp ℘ aleph ℵ imath ı jmath ȷ triangle △ square □
blacksquare ■ checkmark ✓ dagger † dots … ldots … cdots ⋯ vdots ⋮ ddots ⋱ lfloor ⌊
rfloor ⌋ lceil ⌈ rceil ⌉ langle ⟨ rangle ⟩ lvert | rvert | lVert ‖ rVert ‖ vert | Vert ‖
lbrace { rbrace } colon : backslash \ S §
"""
_PAIRS = _NAMES.split()

SYMBOLS = {f"\\{name}": s for name, s in zip(_PAIRS[::2], _PAIRS[1::2], strict=True)} | {
    r"\{": "{",
    r"\}": "}",
    r"\%": "%",
    r"\$": "$",
    r"\&": "&",
    r"\#": "#",
    r"\_": "_",
    r"\|": "‖",
}

SPACES = {
    **dict.fromkeys((r"\,", r"\:", r"\;", "\\ ", r"\quad", r"\qquad", "~"), " "),
    r"\!": "",
}

_FUNCTIONS = """
sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln lg exp lim limsup
liminf max min sup inf arg det dim gcd ker deg Pr
"""
FUNCTIONS = frozenset(rf"\{name}" for name in _FUNCTIONS.split())

ACCENTS = {
    r"\bar": "\u0304",
    r"\hat": "\u0302",
    r"\tilde": "\u0303",
    r"\dot": "\u0307",
    r"\ddot": "\u0308",
    r"\vec": "\u20d7",
}

BLACKBOARD = dict(zip("CHNPQRZ", "ℂℍℕℙℚℝℤ", strict=True))

FRACTIONS = {
    "1/2": "½",
    "1/3": "⅓",
    "2/3": "⅔",
    "1/4": "¼",
    "3/4": "¾",
    "1/5": "⅕",
    "2/5": "⅖",
    "3/5": "⅗",
    "4/5": "⅘",
    "1/6": "⅙",
    "5/6": "⅚",
    "1/8": "⅛",
    "3/8": "⅜",
    "5/8": "⅝",
    "7/8": "⅞",
}

SUBSCRIPTS = dict(
    zip(
        "0123456789+-=()aehijklmnoprstuvxβγρφχ",
        "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓᵦᵧᵨᵩᵪ",
        strict=True,
    )
)

SUPERSCRIPTS = dict(
    zip(
        "0123456789+-=()abcdefghijklmnoprstuvwxyzABDEGHIJKLMNOPRTUVWβγδθφχ∘°′",
        "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻᴬᴮᴰᴱᴳᴴᴵᴶᴷᴸᴹᴺᴼᴾᴿᵀᵁⱽᵂᵝᵞᵟᶿᵠᵡ°°′",
        strict=True,
    )
)
