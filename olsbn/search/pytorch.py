"""What to type in PyTorch for a learning rate of BNGD: its loss, its parameters and its start are others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Parameters that PyTorch's SGD and BatchNorm1d have as well, by their names here.
_SAME = ("eps_a", "momentum", "weight_decay", "nesterov", "eps_power", "eps_factor", "eps_a_power")


def pytorch_lines(n_inputs: int, eps: float, start_norm: float = 1.0, params: Mapping[str, Any] | None = None) -> str:
    r"""Return lines of Python that train one unit with batch normalization as `olsbn` does.

    Parameters
    ----------
    n_inputs : int
        Number of inputs.
    eps : float
        Learning rate of w.
    start_norm : float, optional
        Norm of the start, which the learning rate is for: it scales with the square of it.
    params : mapping, optional
        Further parameters of BNGD, by name.

    Returns
    -------
    str
        For float tensors ``X`` (n, n_inputs) and ``y`` (n, 1), both as the problem has them: centred, and standardized
        where it is. Empty where PyTorch lacks one of the parameters.

    Notes
    -----
    ``MSELoss`` is twice this loss: so both learning rates are halved, and weight decay doubled, which acts on w alone.
    ``BatchNorm1d`` adds its own `eps` to the variance; it refuses 0, so it gets next to nothing. Its bias stays 0 for a
    centred target, and is left out. The scale starts at its best value for the start w.

    Examples
    --------
    >>> print(pytorch_lines(10, eps=1.5).splitlines()[-2])
    optimizer = torch.optim.SGD([{"params": [linear.weight], "lr": 0.75}, {"params": [bn.weight], "lr": 0.5}])
    """
    given = dict(params or {})
    if any(name not in _SAME for name in given):
        return ""
    momentum, decay = given.get("momentum", 0.0), given.get("weight_decay", 0.0)
    groups = [
        f'"params": [linear.weight], "lr": {eps / 2:.9g}',
        f'"params": [bn.weight], "lr": {given.get("eps_a", 1) / 2:.9g}',
    ]
    if decay:
        groups[0] += f', "weight_decay": {2 * decay:.9g}'
    further = (f", momentum={momentum:g}" if momentum else "") + (", nesterov=True" if given.get("nesterov") else "")
    scale = "" if start_norm == 1 else f" * {start_norm:.9g}"
    lines = [
        f"linear, bn = torch.nn.Linear({n_inputs}, 1, bias=False), torch.nn.BatchNorm1d(1, eps=1e-30)",
        "with torch.no_grad():  # a start on the sphere, and the scale that is best for it",
        "    w = torch.randn_like(linear.weight)",
        f"    linear.weight.copy_(w / w.norm(){scale})",
        "    z = linear(X) - linear(X).mean()",
        "    bn.weight.fill_((z * y).mean() / z.std(correction=0))",
        f"optimizer = torch.optim.SGD([{', '.join('{' + group + '}' for group in groups)}]{further})",
    ]
    power, factor, power_a = (
        given.get(name, neutral) for name, neutral in (("eps_power", 0), ("eps_factor", 1), ("eps_a_power", 0))
    )
    if power or factor != 1 or power_a:
        rates = f"lambda k: (k + 1) ** -{power:g} * {factor:.9g}**k", f"lambda k: (k + 1) ** -{power_a:g}"
        lines.append(f"scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, [{', '.join(rates)}])")
    lines.append("loss = torch.nn.MSELoss()  # of bn(linear(X)) and y, over all rows at each step")
    return "\n".join(lines)
