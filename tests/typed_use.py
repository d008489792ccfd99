"""The public names as a type checker sees them: `make lint` runs mypy on this file, and nothing runs it.

A line that is wrong says with ``type: ignore`` which error it is. mypy complains where it does not find that error
(`warn_unused_ignores`), so a stub that lets a misspelt parameter pass fails.
"""

import numpy as np

import olsbn


def right(problem: olsbn.OLSProblem, family: olsbn.ProblemFamily) -> None:
    """Use that is right."""
    ds = olsbn.sweep(problem, eps=np.geomspace(0.1, 1, 5), eps_a=[0.5, 1.0], momentum=0.9, n_steps=10)
    ds = olsbn.sweep(family, method="gd", dim=[10, 20], eps=ds.eps, n_steps=10, schedule="cosine", warmup=3)
    ds = olsbn.sweep(problem, method="clipped", eps=0.1, params={"longest": [0.1, 1.0]}, n_steps=10)
    run = olsbn.run(problem, "minibatch", eps=0.1, batch_size=8, sampling="epoch", n_steps=10, record=5)
    found = olsbn.recommend(problem, momentum=0.9, methods=["bngd"])
    olsbn.measured_window(problem, 1e-3, 100, "gd", momentum=0.5).decades.is_integer()
    olsbn.plotting.plot_map(ds).set_title(str(run.attrs["status"]) + str(found.sizes))
    olsbn.methods()["bngd"].param("eps").meaning.upper()
    [claim.id for claim in olsbn.claims("cai")]


def wrong(problem: olsbn.OLSProblem) -> None:
    """Use that is wrong."""
    olsbn.sweep(problem, epps=1.0, n_steps=10)  # type: ignore[call-arg]
    olsbn.sweep(problem, eps=1.0)  # type: ignore[call-arg]
    olsbn.sweep(problem, eps="0.1:1:5", n_steps=10)  # type: ignore[arg-type]
    olsbn.sweep(problem, eps=1.0, n_steps=10, schedule="linear")  # type: ignore[arg-type]
    olsbn.run(problem, eps=[0.1, 0.2], n_steps=10)  # type: ignore[arg-type]
    olsbn.run(problem, eps=0.1, momentun=0.9)  # type: ignore[call-arg]
    olsbn.recommend(problem, wieght_decay=0.1)  # type: ignore[call-arg]
    olsbn.measured_window(problem, 1e-3, 100, eps=0.1)  # type: ignore[call-arg]
    olsbn.nothing  # type: ignore[attr-defined]  # noqa: B018
