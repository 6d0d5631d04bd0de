"""Characters that look like ASCII, or stand for an operation, and what to write for them."""

from __future__ import annotations

import unicodedata

from flowsim.problems.text.excerpts import described

#: Letters of other scripts that are drawn as ASCII letters are, by the letter that they look like.
_LETTERS = {
    "A": "АΑᎪ", "B": "ВΒ", "C": "СϹ", "D": "Ꭰ", "E": "ЕΕ", "G": "Ԍ", "H": "НΗ", "I": "ІΙӀ",
    "J": "ЈͿ", "K": "КΚ", "M": "МΜ", "N": "Ν", "O": "ОΟՕ", "P": "РΡ", "Q": "Ԛ", "S": "ЅՏ",
    "T": "ТΤ", "U": "Ս", "V": "Ѵ", "W": "Ԝ", "X": "ХΧ", "Y": "ҮΥУ", "Z": "Ζ",
    "a": "аαɑ", "b": "Ь", "c": "сϲ", "d": "ԁ", "e": "еҽ", "g": "ɡց", "h": "һհ", "i": "іıιⅈ",
    "j": "јϳ", "k": "κк", "l": "ӏ", "m": "м", "n": "пոη", "o": "оοօ", "p": "рρ", "q": "ԛզ",
    "r": "г", "s": "ѕ", "t": "т", "u": "υսц", "v": "νѵ", "w": "ԝωա", "x": "хχ", "y": "уγү",
    "z": "ᴢ",
}  # fmt: skip
_LETTER_OF = {alike: letter for letter, alikes in _LETTERS.items() for alike in alikes}

#: What the sign stands for, by the signs.
_SIGNS = {
    "*": "·×⋅∗∙•⋆⊙∘✕✖",
    "-": "−–—‐‑‒﹣―",
    "/": "÷∕⁄",
    "**": "ˆ↑",
    ".T": "ᵀ⊤′’‘´ᵗ†",
    "sqrt(...)": "√",
    "norm(...)": "‖∥",
    "kron(A, B)": "⊗",
    "sum(...)": "∑Σ",
    ",": "،、",
    "(": "❨⟨〈",
    ")": "❩⟩〉",
}
_WRITTEN_AS = {sign: ascii_ for ascii_, signs in _SIGNS.items() for sign in signs}


def ascii_meant(character: str) -> str:
    """What was likely meant by a character outside ASCII, in ASCII; or an empty string."""
    known = _LETTER_OF.get(character) or _WRITTEN_AS.get(character)
    if known:
        return known
    plain = unicodedata.normalize("NFKC", character).strip()
    decomposition = unicodedata.decomposition(character)
    if not plain.isascii() or not plain.isprintable():
        return _WRITTEN_AS.get(plain, "")
    if decomposition.startswith("<super>") and plain:
        return f"**{plain}"
    if decomposition.startswith("<fraction>"):
        return ""
    return plain


def unreadable(character: str) -> str:
    """What is wrong with a character that is not printable ASCII, and what would do."""
    name = described(character)
    category = unicodedata.category(character)
    if unicodedata.decomposition(character).startswith("<fraction>"):
        halves = unicodedata.normalize("NFKC", character).replace("\N{FRACTION SLASH}", "/")
        return f"the character {name} is not read. Write ({halves})."
    if category[0] in "CZ":
        return f"the character {name} cannot be seen and is not read. Delete it."
    if category[0] == "M":
        return f"the character {name} is a mark on the letter before it. Delete it."
    meant = ascii_meant(character)
    if meant:
        return f"the character {name} is not read, only ASCII is. Write {meant} for it."
    return f"the character {name} is not read. Use letters, digits and signs of ASCII."
