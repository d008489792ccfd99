"""The quantities of results: one table of those that are stored and those that follow from them.

A stored quantity is a `Column`, a derived one a `Derived`. Sweeps, stores, runs, pictures, exports and the command line
take names, words, units, symbols and colour scales from here. It needs no NumPy: the command line lists quantities.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from olsbn.schema import FLAG_MEANINGS, FLAG_VALUES, Status

NAN = float("nan")
_GREEK = ("alpha", "beta", "gamma", "delta", "epsilon", "eta", "lambda", "mu", "nu", "rho", "sigma", "tau", "omega")
# How numbers become colours: by the logarithm, as they are, or, of an excess, by the number of digits gained. "": no
# colours, for a quantity that is not a number of a scale.
SCALES = ("log", "linear", "digits", "")


def mathtext(symbol: str) -> str:
    """Return a symbol as mathtext, without dollar signs: Greek letters by their names, what follows _ below."""
    head, _, tail = symbol.partition("_")
    return _letters(head) + (f"_{{{_letters(tail)}}}" if tail else "")


def _letters(text: str) -> str:
    if text == "eps":
        return r"\varepsilon"
    text = text.replace("_", r"\_")
    return rf"\{text}" if text in _GREEK else text if len(text) == 1 else rf"\mathrm{{{text}}}"


class Symbolic:
    """What all have that is told by a name, a symbol and its meaning: how pictures and files write that."""

    symbol: str
    meaning: str
    unit: str = "1"
    tex: str = ""

    @property
    def mathtext(self) -> str:
        """The symbol as mathtext, without dollar signs."""
        return self.tex or mathtext(self.symbol)

    def attrs(self) -> dict[str, Any]:
        """Return the attributes that it carries in every Dataset."""
        return {"long_name": self.meaning, "symbol": self.symbol, "units": self.unit}


@dataclass(frozen=True)
class Axis(Symbolic):
    """An axis of results that is not a parameter of a method: its symbol, what it is, and what a picture calls it."""

    name: str
    symbol: str
    meaning: str
    words: str

    @property
    def label(self) -> str:
        """What a picture calls it."""
        return f"{self.words} ${self.mathtext}$" if self.words else self.meaning


@dataclass(frozen=True)
class Quantity(Symbolic):
    """A number of each cell, or of each step of a run.

    Attributes
    ----------
    name, symbol, meaning, unit : str
        In results, in formulas as text, in words, and its unit, "1" if it has none.
    tex : str
        The symbol as mathtext, without dollar signs. Default: made of `symbol`, where `eps` and Greek letters are
        letters and what follows an underscore stands below.
    words : str
        What a colour bar says; it may hold mathtext. Default: `meaning` and the symbol.
    scale : {"log", "linear", "digits", ""}
        How numbers become colours (`SCALES`). With "log" a number <= 0 is not drawn, but hatched.
    cmap : str
        The colour map.
    missing : str
        What it means that a cell which ran has no such number.
    """

    name: str
    symbol: str
    meaning: str
    unit: str = "1"
    tex: str = ""
    words: str = ""
    scale: str = "log"
    cmap: str = "cividis"
    missing: str = ""

    @property
    def label(self) -> str:
        """What a colour bar says."""
        return self.words or f"{self.meaning} ${self.mathtext}$"


@dataclass(frozen=True)
class Column(Quantity):
    """A quantity that is stored.

    Attributes
    ----------
    dtype, empty : str, float
        How it is stored, and its value in a cell that was not run.
    recorded : bool
        Whether it has a value at each step, and so an axis `step` where steps are recorded.
    theory : bool
        Whether it is theory's, a pass of its own over what was simulated.
    """

    dtype: str = "float64"
    empty: float = NAN
    recorded: bool = True
    theory: bool = False

    def attrs(self) -> dict[str, Any]:
        """Return the attributes that it carries in every Dataset; of `status` also what its codes mean (CF 3.5)."""
        if self.name != "status":
            return super().attrs()
        import numpy as np

        flags = {"flag_values": np.array(FLAG_VALUES, dtype=np.int8), "flag_meanings": FLAG_MEANINGS}
        return super().attrs() | flags


@dataclass(frozen=True)
class Derived(Quantity):
    """A quantity that follows from stored ones and from facts of the problem.

    Attributes
    ----------
    needs : tuple of str
        The stored quantities that it is made of.
    of : callable
        ``of(ds, fact)`` returns it, from a Dataset with what it needs. ``fact(name)`` is a number of the problem
        (`olsbn.theory.facts`), over (dim, trial) where there are several problems; "edge" is the edge of stability of
        the method's effective learning rate, and "tells_sigma" what its `Theory` says of that.
    """

    needs: tuple[str, ...] = ()
    of: Callable[[Any, Callable[[str], Any]], Any] = lambda ds, fact: NAN


def _log10(values: Any) -> Any:
    import numpy as np

    with np.errstate(all="ignore"):
        return np.log10(values)


def _per_sigma(ds: Any, fact: Callable[[str], Any], keeps_null_part: bool) -> Any:
    """Return |a|/sigma of BNGD: eps_hat = eps (a/sigma)^2 cos sqrt(E)/a, with the cosine that excess and a give."""
    import numpy as np

    smooth = ds.get("smoothing", ds.attrs.get("smoothing", 0.0))
    decay = ds.get("weight_decay", ds.attrs.get("weight_decay", 0.0)) if keeps_null_part else 0.0
    if not fact("tells_sigma") or np.any(np.asarray(smooth) != 0):
        raise ValueError(f"the method must be BNGD without smoothing, got {ds.attrs.get('method')}")
    if np.any(np.asarray(decay) != 0):
        raise ValueError("the null part must keep its size, got a result with weight_decay, which shrinks it")
    root = fact("explained_var") ** 0.5
    a = abs(ds["a"]) / root
    with np.errstate(all="ignore"):
        cosine = abs(1 + a * a - ds["excess"]) / (2 * a)
        eps = ds["eps"] if "eps" in ds.coords else float(ds.attrs["eps"])
        return np.sqrt(abs(ds["eps_eff"]) * a / (eps * cosine))


_ENDS = (
    Column(
        "status", "status", "how the cell ended", scale="", dtype="int8", empty=Status.NOT_RUN, recorded=False
    ),
    Column(
        "steps_to_tol", "k_tol", "first step with relative excess <= tol, -1 where there is none",
        words="steps to tolerance", cmap="viridis", missing="tolerance not reached", dtype="int64", empty=-1,
        recorded=False,
    ),
    Column(
        "n_steps_run", "k_end", "steps the cell ran before it stopped", words="steps before the cell stopped",
        cmap="viridis", missing="ended at the start", dtype="int64", empty=-1, recorded=False,
    ),
)  # fmt: skip
_AT_STEPS = (
    Column(
        "excess", "(J - J_min)/(E/2)", "relative excess loss", tex=r"(J - J_{\min})/(E/2)",
        words="final relative excess", scale="digits", cmap="viridis", missing="no excess",
    ),
    Column(
        "residual", "||e||_H / sqrt(E)", "relative H-norm of the residual u - q w", tex=r"\|e\|_H/\sqrt{E}",
        cmap="viridis", missing="no residual",
    ),
    Column(
        "excess_running", "excess_run", "relative excess loss, evaluated with the running averages",
        words="relative excess by the running averages", scale="digits", cmap="viridis", missing="no excess",
    ),
    Column(
        "excess_batch", "excess_B",
        "loss of the batch that the step trains on above the least loss of the whole sample, relative",
        words="relative excess of the last batch", scale="linear", cmap="viridis", missing="no excess",
    ),
    Column(
        "gap", "gap", "train/eval gap: excess_running less excess_batch", words="train/eval gap", scale="linear",
        missing="no gap",
    ),
    Column(
        "eps_eff", "eps_hat", "effective learning rate eps (a/sigma) w'g/sigma^2; for GD the learning rate itself",
        tex=r"\hat\varepsilon", words=r"effective learning rate $\hat\varepsilon$",
        missing=r"$\hat\varepsilon \leq 0$",
    ),
    Column(
        "w_norm", "||w||", "norm of the weights, null space of H included", tex=r"\|w\|",
        words=r"norm of the weights $\|w\|$", missing=r"$w = 0$",
    ),
    Column("a", "a", "BN scale", words="BN scale $a$", scale="linear", missing="no scale"),
    Column(
        "by_rounding", "by_rounding", "whether rounding may decide the excess: only many digits tell", scale="",
        dtype="bool", empty=False,
    ),
)  # fmt: skip
_RATES = (
    Column(
        "rate_sim", "rho_sim",
        "measured asymptotic contraction ratio of sqrt(excess) a step, NaN where none was reached",
        words=r"contraction ratio of $\sqrt{\mathrm{excess}}$ a step", scale="linear", missing="no rate measured",
        recorded=False,
    ),
    Column(
        "rate_theory", "rho_theory", "contraction ratio of the linearised dynamics at the cell's own eps_eff",
        words=r"predicted contraction ratio of $\sqrt{\mathrm{excess}}$", scale="linear", missing="no prediction",
        recorded=False, theory=True,
    ),
    Column(
        "resolved", "resolved", "whether the cell's numbers are proved: run again with as many digits as it takes",
        scale="", dtype="bool", empty=False, recorded=False,
    ),
)  # fmt: skip

DERIVED = (
    Derived(
        "eps_eff_ratio", "eps_hat/edge", "effective learning rate over the edge of stability",
        tex=r"\hat\varepsilon/\mathrm{edge}", words=r"effective rate $\hat\varepsilon$ / edge of stability",
        missing=r"$\hat\varepsilon \leq 0$", needs=("eps_eff",),
        of=lambda ds, fact: ds["eps_eff"] / fact("edge"),
    ),
    Derived(
        "decades", "-log10 excess", "decades of the relative excess gained on predicting the mean", "decades",
        tex=r"-\log_{10} \mathrm{excess}", words="decades gained on predicting the mean", scale="linear",
        cmap="viridis", missing="no excess", needs=("excess",),
        of=lambda ds, fact: -_log10(ds["excess"].where(ds["excess"] > 0)),
    ),
    Derived(
        "excess_loss", "J - J_min", "excess loss in the units of the loss", "(unit of the target)^2",
        tex=r"J - J_{\min}", words=r"excess loss $J - J_{\min}$", cmap="viridis", missing="no excess",
        needs=("excess",), of=lambda ds, fact: ds["excess"] * (fact("explained_var") / 2),
    ),
    Derived(
        "loss", "J", "loss in its own units, the mean of squares over 2", "(unit of the target)^2",
        words="loss $J$", cmap="viridis", missing="no excess", needs=("excess",),
        of=lambda ds, fact: fact("loss_min") + ds["excess"] * (fact("explained_var") / 2),
    ),
    Derived(
        "steps_per_decade", "k_10", "steps that a tenth of the relative excess takes in the end",
        tex="k_{10}", words="steps for a decade of the excess", cmap="viridis", missing="no rate measured",
        needs=("rate_sim",), of=lambda ds, fact: -0.5 / _log10(ds["rate_sim"]),
    ),
    Derived(
        "pred_norm", "|a| ||w||/sigma", "norm of the predictor's coefficients a w/sigma", tex=r"|a|\,\|w\|/\sigma",
        words=r"norm of the predictor $a w/\sigma$", scale="linear", missing="no predictor",
        needs=("eps_eff", "a", "excess", "w_norm"),
        of=lambda ds, fact: _per_sigma(ds, fact, False) * ds["w_norm"],
    ),
    Derived(
        "null_norm", "|a| ||z||/sigma", "norm of the predictor's part in the null space of H, which the start leaves",
        tex=r"|a|\,\|z\|/\sigma", words="norm of the predictor's null part", scale="linear", missing="no predictor",
        needs=("eps_eff", "a", "excess"),
        of=lambda ds, fact: _per_sigma(ds, fact, True) * fact("w0_null_norm"),
    ),
)  # fmt: skip

# Every stored quantity of a cell, in the order of the result; a method says which of them it has (`Method.columns`).
COLUMNS = {column.name: column for column in (*_ENDS, *_AT_STEPS, *_RATES)}
QUANTITIES: dict[str, Quantity] = {**COLUMNS, **{one.name: one for one in DERIVED}}

AXES = {
    axis.name: axis
    for axis in (
        Axis("dim", "d", "number of inputs", "dimension"),
        Axis("trial", "trial", "index of the random problem", ""),
        Axis("step", "k", "step number", "step"),
    )
}


def attrs(name: str) -> dict[str, Any]:
    """Return the attributes that a quantity of this table, or an axis of it, carries in every Dataset."""
    return AXES[name].attrs() if name in AXES else QUANTITIES[name].attrs()
