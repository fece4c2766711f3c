"""Numbers as a person reads them, in the terminal and on the page."""

import math

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def duration(seconds: float) -> str:
    """`45 s`, `3 min 20 s`, `2 h 5 min`; `0.4 s` where it is short."""
    if seconds < 1:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def memory(num_bytes: float) -> str:
    """`820 MiB`, `3.1 GiB`."""
    return f"{num_bytes / 2**20:,.0f} MiB" if num_bytes < 2**30 else f"{num_bytes / 2**30:.1f} GiB"


def energy(watt_hours: float) -> str:
    """`0.09 Wh`, `1.24 kWh`."""
    return f"{watt_hours / 1000:.2f} kWh" if watt_hours >= 1000 else f"{watt_hours:.2g} Wh" if watt_hours < 10 else f"{watt_hours:.0f} Wh"


def power_of_ten(value: float | None) -> str:
    """`2.4 × 10⁻⁷`; `0`; a dash where there is nothing."""
    if value is None:
        return "–"
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "not a number"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa} × 10{str(int(exponent)).translate(SUPERSCRIPTS)}"


def one_part_in(value: float) -> str:
    """`1 part in 4.2 million` of a small share."""
    parts = 1 / value if value > 0 else math.inf
    if parts == math.inf:
        return "nothing at all"
    for size, word in ((1e9, " billion"), (1e6, " million"), (1e3, ",000")):
        if parts >= size:
            number = parts / size
            return f"1 part in {number:.0f}{word}" if number >= 10 or word == ",000" else f"1 part in {number:.1f}{word}"
    return f"1 part in {parts:.0f}"


def metric(name: str, value: float) -> str:
    """`56.7 %` where the name says that it is a share, else four digits after the point."""
    return f"{value * 100:.1f} %" if is_share(name) else f"{value:.4f}" if abs(value) < 1000 else f"{value:,.0f}"


def is_share(name: str) -> bool:
    return name.split("/")[0].endswith(("accuracy", "share", "fraction", "rate")) and not name.startswith("learning_rate")


def words(name: str) -> str:
    """`token_accuracy` → `token accuracy`, `bits_per_byte` → `bits/byte`."""
    return name.replace("_per_", "/").replace("_", " ")
