"""Norm and radius of an attack in words. No attack imports this, so that other words run no attack again."""

from fractions import Fraction


def budget(norm: str, eps: Fraction | float | None, eps_space: str = "pixel") -> str:
    """Return an attack's norm and radius as figures and sentences state them, such as "L∞, eps 8/255".

    A radius is a multiple of 1/255 where it is one and has more than two decimals, otherwise a decimal number.
    """
    name = "L∞" if norm == "linf" else norm.upper()
    if eps is None:
        return f"{name}, unbounded"
    value, levels = float(eps), 255 * float(eps)
    in_levels = norm == "linf" and round(levels) > 0 and abs(levels - round(levels)) < 1e-6
    text = f"{round(levels)}/255" if in_levels and abs(value - round(value, 2)) > 1e-9 else f"{value:.4g}"
    if norm == "l0":
        return f"{name}, eps {value:.0f} pixel{'s' * (value != 1)}"
    return f"{name}, eps {text}{' in normalised units' * (eps_space == 'normalized')}"
