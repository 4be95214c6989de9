"""Numbers in answers: the last number of a text, in one form, so that `$1,800.00` and `1800` are the same answer.

A number is digits with thousands separators, a sign, a decimal point, an exponent, or a fraction of two whole numbers;
units, currency and per cent signs around it do not count. LaTeX's `\\frac{3}{4}` is such a fraction. What is longer
than a thousand characters, as a loop writes it, is none: Python turns no more than 4300 digits into a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

from mbt_lite.records import NUMBER_MARK

_FRACTION = re.compile(r"\\d?frac\s*\{\s*(-?\d+)\s*\}\s*\{\s*(\d+)\s*\}")
# a sign, the whole part and the `rest` of a decimal, a power of ten, the lower half of a fraction; may match nothing
NUMBER = re.compile(
    r"(?<![\w.])(?P<sign>[-+\u2212])?\s*[$\u20ac\u00a3]?\s*"
    r"(?P<whole>\d{1,3}(?:[,\u00a0\u202f]\d{3})+(?!\d)|\d+)?(?P<rest>\.\d+)?(?P<power>[eE][-+]?\d{1,3})?"
    r"(?:\s*/\s*(?P<under>\d+))?"
)
_MOST_CHARACTERS = 1000


def number_in(text: str) -> Fraction | None:
    """Give the last number of a text exactly; None without one.

    >>> number_in("5 + 13 = $1,818.50"), number_in("no idea")
    (Fraction(3637, 2), None)
    """
    return next((value for value, *_ in reversed(list(numbers_in(_FRACTION.sub(r" \1/\2", text))))), None)


def numbers_in(text: str) -> Iterator[tuple[Fraction, int, int]]:
    """Give each number of a text but LaTeX's, with where it begins and ends.

    >>> [(int(value), start, end) for value, start, end in numbers_in("$1,800, not 2")]
    [(1800, 0, 6), (2, 12, 13)]
    """
    for one in NUMBER.finditer(text):
        is_number = (one["whole"] or one["rest"]) and len(one[0]) <= _MOST_CHARACTERS
        if is_number and (value := _value(one)) is not None:
            yield value, *one.span()


def _value(found: re.Match[str]) -> Fraction | None:
    whole = re.sub(r"\D", "", found["whole"] or "0")
    value = Fraction(f"{whole}{found['rest'] or ''}{found['power'] or ''}")
    if found["under"] is not None:
        if not int(found["under"]):
            return None
        value /= int(found["under"])
    return -value if found["sign"] in ("-", "\u2212") else value


def plain_number(text: str) -> str | None:
    """Write the last number of a text plainly: a whole number, a short decimal, or a fraction; None without one.

    >>> plain_number("$1,800.00"), plain_number("0.250"), plain_number("2/6")
    ('1800', '0.25', '1/3')
    """
    value = number_in(text)
    if value is None:
        return None
    if value.denominator == 1:
        return str(value.numerator)
    twos_and_fives = value.denominator
    for prime in (2, 5):
        while twos_and_fives % prime == 0:
            twos_and_fives //= prime
    return str(value) if twos_and_fives > 1 else _decimal(value)


def _decimal(value: Fraction) -> str:
    digits = 0
    while (value * 10**digits).denominator > 1:
        digits += 1
    scaled = str(abs((value * 10**digits).numerator)).rjust(digits + 1, "0")
    return f"{'-' if value < 0 else ''}{scaled[:-digits]}.{scaled[-digits:]}"


def is_number_gold(gold: str) -> bool:
    """Tell whether a gold is compared as a number.

    >>> is_number_gold("#### 72"), is_number_gold("72")
    (True, False)
    """
    return gold.startswith(NUMBER_MARK)
