"""Write docs/methods.md, the page of all methods, from the registry: ``python docs/methods_page.py``."""

import math
from pathlib import Path

import olsbn

PAGE = Path(__file__).with_name("methods.md")
# What an option without choices may be, by its kind.
ALLOWED = {
    "count": "a whole number",
    "share": "a number in [0, 1]",
    "steps": "a number >= 0 for each step and one for the last",
}


def upper(value):
    """Return the upper end of a range as text: inf itself is not allowed, and large whole numbers are powers of two."""
    return "∞)" if value == math.inf else f"2^{math.log2(value):g}]" if value > 1e6 else f"{value:g}]"


def text():
    """Return the page."""
    parts = [
        "# The methods\n",
        "Made from the registry by `python docs/methods_page.py`; a test holds the two together. Every parameter may",
        "be a number or a vector; a vector is an axis of a sweep. The defaults of momentum, decay, schedules and",
        "smoothing are neutral: with them the bits are those of the method without.\n",
        "As in PyTorch's SGD, with the gradient G of w at step k and momentum m, decay and schedule act as\n",
        "    G <- G + weight_decay w,  M <- m M + G,  w <- w - eps_k M,  eps_k = eps (k+1)^-eps_power eps_factor^k,\n",
        "and with Nesterov's momentum w <- w - eps_k (G + m M). Momentum and `eps_a_power` act in the same way on",
        "a, which has no decay.\n",
    ]
    for method in olsbn.methods().values():
        parts += [
            f"## `{method.name}`\n",
            f"{method.summary[0].upper()}{method.summary[1:]}.\n",
            f"    {method.step}\n",
        ]
        if method.params or method.options:
            parts += ["| parameter | symbol | meaning | default | range |", "|---|---|---|---|---|"]
        for p in method.params:
            neutral = "must be given" if p.default is None else f"{p.default:g}"
            kind = ", whole" if p.kind == "count" else ""
            parts.append(f"| `{p.name}` | {p.symbol} | {p.meaning} | {neutral} | [{p.low:g}, {upper(p.high)}{kind} |")
        for option in method.options:
            allowed = ", ".join(option.choices) or ALLOWED[option.kind]
            parts.append(f"| `{option.name}` | | {option.meaning} | {option.default} | {allowed} |")
        parts += ["", f"A cell has {', '.join(f'`{name}`' for name in method.columns)}."]
        parts += [f"Sources: {'; '.join(method.sources)}.\n" if method.sources else ""]
    return "\n".join(parts).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
