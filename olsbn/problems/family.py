"""Random problems of one kind, over dimensions and trials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from olsbn._validate import as_count, as_real
from olsbn.problems import density, spectra
from olsbn.problems.problem import OLSProblem
from olsbn.problems.reduction import Reduction, key

_LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True)
class ProblemFamily:
    r"""Random problems of one kind: ``family(dim, trial)`` is an `OLSProblem`, the same one at every call.

    Parameters
    ----------
    kind, cond, seed, u, w0
        Those of `OLSProblem.from_spectrum`, which equals trial 0. Every (dim, trial) draws from random streams of its
        own, so that one never shifts another.
    density : bool, optional
        Take the limit of high dimension: Gauss quadrature of the spectral density in place of `dim` eigenvalues (see
        Notes), at a cost that does not depend on `dim`, which may be up to 2**53. Kinds: "linspace" (uniform),
        "logspace" (log-uniform), "marchenko-pastur", "powerlaw".
    overlap : float, optional
        With `density`: cosine of the angle between w0 and g, in [-1, 1]. Default: drawn for each (dim, trial), normal
        with standard deviation ``dim**-0.5``.
    modes : int, optional
        With `density`: number of points of the quadrature, 2 modes each.
    exponent : float, optional
        Of the kind "powerlaw", in place of `cond`: the eigenvalues are ``(dim/j)**exponent``, j = 1, ..., dim, and
        cond is ``dim**exponent``. >= 0.

    Notes
    -----
    For random u and w0 of high dimension the measures through which the dynamics see a problem tend to the density,
    and what is left of chance is the overlap of start and solution, of size ``dim**-1/2``: it decides how far the
    plateau reaches. With the overlap held, runs of single problems tend to this limit like ``dim**-1/2`` (asymptotic;
    measured in the tests). The quadrature is good for about ``(modes/2)**2/12`` steps to 1e-12 in log(excess), four
    times as many to 1e-3 (see `OLSProblem.reduced`). Of a power law the largest eigenvalues are few at any dimension,
    and their weights stay random: it has this limit only where they do not decide.

    Examples
    --------
    >>> family = ProblemFamily("logspace", cond=100.0)
    >>> family(10, trial=3) == family(10, trial=3), family(10, trial=3) == family(10, trial=4)
    (True, False)
    >>> vast = ProblemFamily("linspace", cond=100.0, density=True)
    >>> vast(10**9).dim, vast(10**9).cond
    (802, 100.0)
    """

    kind: str
    cond: float = 1.0
    seed: int = 0
    u: Any = "sphere"
    w0: Any = "sphere"
    density: bool = False
    overlap: float | None = None
    modes: int = 400
    exponent: float | None = None

    def __post_init__(self) -> None:
        names = ("kind", "cond", "seed", "u", "w0")
        for name, value in zip(names, spectra.checked(*(getattr(self, n) for n in names)), strict=True):
            object.__setattr__(self, name, value)
        if self.exponent is not None:
            exponent = as_real("exponent", self.exponent)
            if self.kind != "powerlaw":
                raise ValueError(f"exponent goes with the kind 'powerlaw', got it with {self.kind!r}")
            if exponent < 0:
                raise ValueError(f"exponent must be >= 0, got {exponent!r}")
            if self.cond != 1:
                raise ValueError(f"cond must be left out with an exponent, from which it follows, got {self.cond!r}")
            object.__setattr__(self, "exponent", exponent)
        if self.density not in (False, True):
            raise TypeError(f"density must be True or False, got {self.density!r}")
        object.__setattr__(self, "density", bool(self.density))
        object.__setattr__(self, "modes", as_count("modes", self.modes, minimum=2, maximum=10_000))
        if not self.density:
            if self.overlap is not None:
                raise ValueError(f"overlap must be left out without density=True, got {self.overlap!r}")
            return
        if self.kind not in density.DENSITIES:
            raise ValueError(f"kind must be one of {', '.join(density.DENSITIES)} with density=True, got {self.kind!r}")
        if self.exponent is None and self.cond <= 1:
            raise ValueError(f"cond must be > 1 with density=True, got {self.cond!r}")
        for name in ("u", "w0"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} must be a name with density=True, got {len(getattr(self, name))} numbers")
        if self.overlap is not None:
            overlap = as_real("overlap", self.overlap)
            if not -1 <= overlap <= 1:
                raise ValueError(f"overlap must be in [-1, 1], got {overlap!r}")
            if self.w0 == "gradient":
                raise ValueError(f"overlap must be left out for w0 = 'gradient', where it is 1, got {overlap!r}")
            object.__setattr__(self, "overlap", overlap)

    def __call__(self, dim: int, trial: int = 0) -> OLSProblem:
        """Return the problem of dimension `dim` >= 1 and number `trial` >= 0."""
        if not self.density:
            cond = self.cond_of(as_count("dim", dim, minimum=1))
            eigvals, u, w0, label = spectra.draw(self.kind, cond, self.seed, self.u, self.w0, dim, trial)
            return OLSProblem(eigvals, u, w0, label=label)
        dim = as_count("dim", dim, minimum=2)
        trial = as_count("trial", trial, maximum=_LARGEST_SEED)
        overlap = 1.0 if self.w0 == "gradient" else self.overlap
        if overlap is None:
            overlap = density.draw_overlap(self.seed, dim, trial)
        cond = self.cond_of(dim)
        eigvals, u, w0, lost, label = density.limit(self.kind, cond, dim, self.modes, overlap)
        made = OLSProblem(eigvals, u, w0)
        # The spectrum of H* fills that of H: its ends are those of the density.
        ends = (1.0, cond)
        facts = Reduction(dim, "", 0, 0.0, ends, ends, 1.0, 1.0, key(made.eigvals, made.u, made.w0))
        return OLSProblem(made.eigvals, made.u, made.w0, w0_null_norm=lost, label=label, reduction=facts)

    def cond_of(self, dim: int) -> float:
        """Return the condition number of H of dimension `dim`."""
        return self.cond if self.exponent is None else float(dim) ** self.exponent

    def n_modes(self, dim: int) -> int:
        """Return how many modes the problem of dimension `dim` has."""
        return 2 * self.modes + 2 if self.density else dim

    def facts(self) -> dict[str, Any]:
        """Return the fields that make the family what it is, by name."""
        names = ["kind", "cond", "seed", "u", "w0"]
        if self.density:
            names += ["density", "modes"] + (["overlap"] if self.overlap is not None else [])
        names += ["exponent"] if self.exponent is not None else []
        return {name: getattr(self, name) for name in names}
