"""102 configs and command lines that must be refused with one line, exit code 2 and nothing made."""

GOOD = """\
n_steps = 20
eps = "1e-3:1e3:7"
eps_a = [0.5, 1.0]
dim = [3, 5]
trials = 2

[problem]
spectrum = "logspace"
cond = 10.0
"""


def _changed(old, new):
    assert old in GOOD
    return GOOD.replace(old, new)


def _top(line):
    return f"{line}\n{GOOD}"


def _problem(*lines):
    return "n_steps = 5\neps = 0.1\n[problem]\n" + "\n".join(lines)


# (text of the config, what the line must contain)
CONFIGS = [
    # not TOML
    ("", "the key 'problem' is missing"),
    ("n_steps", "must be a TOML file"),
    ("n_steps = ", "must be a TOML file"),
    ("n_steps = 1\nn_steps = 2", "must be a TOML file"),
    ("[problem\n", "must be a TOML file"),
    ("x = [1, 2", "must be a TOML file"),
    ("\x00", "must be a TOML file"),
    (b"\xff\xfe", "must be a TOML file"),
    ("x = " + "[" * 5000, "must be a TOML file"),
    ('{"n_steps": 1}', "must be a TOML file"),
    # unknown keys
    (_top("epz = 1"), "did you mean 'eps'?"),
    (_top("nsteps = 1"), "did you mean 'n_steps'?"),
    (_top("trial = 1"), "did you mean 'trials'?"),
    (_top("methods = 'gd'"), "did you mean 'method'?"),
    (_top("anything = 1"), "unknown key 'anything'"),
    (_top("cond = 3"), "the key 'cond' belongs under [problem]"),
    (GOOD + "sed = 3", "did you mean 'seed'?"),
    (GOOD + "[other]\nx = 1", "unknown key 'other'"),
    (GOOD + "[problem.more]\nx = 1", "unknown key in [problem]: 'more'"),
    # missing keys
    (_changed("n_steps = 20\n", ""), "the key 'n_steps' is missing"),
    (_changed('eps = "1e-3:1e3:7"\n', ""), "the key 'eps' is missing"),
    (_changed("dim = [3, 5]\n", ""), "the key 'dim' is missing"),
    (_changed("cond = 10.0\n", ""), "the key 'problem.cond' is missing"),
    (_changed('[problem]\nspectrum = "logspace"\ncond = 10.0\n', ""), "the key 'problem' is missing"),
    (_problem(), "exactly one of spectrum, data and csv, got none"),
    (_problem("csv = 'x.csv'"), "the key 'problem.target' is missing"),
    # wrong types
    (_changed("20", "'20'"), "n_steps must be a whole number >= 0, got '20'"),
    (_changed("20", "20.5"), "n_steps must be a whole number >= 0, got 20.5"),
    (_changed("20", "true"), "n_steps must be a whole number >= 0, got True"),
    (_changed("20", "[20]"), "n_steps must be a whole number >= 0, got [20]"),
    (_changed("20", "1979-05-27"), "n_steps must be a whole number >= 0"),
    (_changed("[3, 5]", "'3'"), "dim must be a whole number >= 1 or a list of them, got '3'"),
    (_changed("[3, 5]", "[3, 'x']"), "dim must be a whole number >= 1 or a list of them"),
    (_changed("[3, 5]", "3.5"), "dim must be a whole number >= 1 or a list of them, got 3.5"),
    (_changed("[0.5, 1.0]", "[0.5, 'x']"), "eps_a must be a number >= 0"),
    (_changed("[0.5, 1.0]", "[[0.5], [1.0]]"), "eps_a must be a number >= 0"),
    (_changed("[0.5, 1.0]", "false"), "eps_a must be a number >= 0"),
    (_changed('"logspace"', "3"), "problem.spectrum must be the name of a spectrum, got 3"),
    (_changed("10.0", "'ten'"), "problem.cond must be a number >= 1, got 'ten'"),
    (_top("tol = 'small'"), "tol must be a number in [1e-290, 1), got 'small'"),
    (_top("stop = 1"), "stop must be 'steps' or 'tol', got 1"),
    (_top("method = ['gd']"), "method must be 'bngd', 'gd', 'gdnp', 'wngd', 'sphere', 'wngrad' or 'minibatch'"),
    (GOOD + "seed = 1.5", "problem.seed must be a whole number >= 0, got 1.5"),
    (GOOD + "u = 3", "problem.u must be a list of numbers, or one of"),
    ("problem = 1\nn_steps = 1\neps = 1.0", "problem must be a table [problem]"),
    (
        _problem("data = 'wine'", "standardize = 'yes'"),
        "problem.standardize must be true, false or 'inputs', got 'yes'",
    ),
    # impossible values
    (_changed("20", "-1"), "n_steps must be >= 0, got -1"),
    (_changed("20", "99999999999999"), "n_steps must be <="),
    (_changed("20", "9" * 30), "n_steps must be"),
    (_changed("[3, 5]", "[3, 3]"), "dim must not repeat a value, got 3"),
    (_changed("[3, 5]", "[]"), "dim must be a whole number"),
    (_changed("[3, 5]", "0"), "dim must be >= 1, got 0"),
    (_changed("[3, 5]", "-2"), "dim must be >= 1, got -2"),
    (_changed("[3, 5]", "[1, 5]"), "dim must be >= 2 for cond = 10.0, got 1"),
    (_changed("trials = 2", "trials = 0"), "trials must be"),
    (_changed("trials = 2", "trials = [-1]"), "trial must be >= 0, got -1"),
    (_changed("trials = 2", "trials = [1, 1]"), "trial must not repeat a value"),
    (_changed("trials = 2", "trials = []"), "trial must be"),
    (_changed("trials = 2", "trials = [5000000000]"), "trial must be <= 4294967295"),
    (_changed("[0.5, 1.0]", "[]"), "eps_a must have at least one value"),
    (_changed("[0.5, 1.0]", "[0.5, 1, 1.0]"), "eps_a must not repeat a value, got 1.0 twice"),
    (_changed("[0.5, 1.0]", "[0.5, -1.0]"), "eps_a must be >= 0, got -1.0"),
    (_changed("[0.5, 1.0]", "[0.5, nan]"), "eps_a must be finite, got eps_a[1] = nan"),
    (_changed("[0.5, 1.0]", "inf"), "eps_a must be finite"),
    (_changed('"1e-3:1e3:7"', '"1e3:1e-3:7"'), "eps must have LO < HI"),
    (_changed('"1e-3:1e3:7"', '"0:1e3:7"'), "eps must have LO > 0"),
    (_changed('"1e-3:1e3:7"', '"-1:1e3:7@lin"'), "eps must be finite and >= 0"),
    (_changed('"1e-3:1e3:7"', '"1e-3:1e3"'), "eps must be LO:HI:N"),
    (_changed('"1e-3:1e3:7"', '"1e-3:1e3:x"'), "eps must be LO:HI:N"),
    (_changed('"1e-3:1e3:7"', '"1e-3:1e3:0"'), "eps must have N >= 1"),
    (_changed('"1e-3:1e3:7"', '"1e-3:1e3:7@sqrt"'), "eps must be LO:HI:N"),
    (_changed('"1e-3:1e3:7"', '"1e-3:nan:7"'), "eps must be finite"),
    (_changed('"1e-3:1e3:7"', '""'), "eps must be LO:HI:N"),
    (_changed('"logspace"', '"logspce"'), "did you mean 'logspace'?"),
    (_changed('"logspace"', '"identity"'), "cond must be 1 for the kind 'identity', got 10.0"),
    (_changed("10.0", "0.5"), "cond must be >= 1, got 0.5"),
    (_changed("10.0", "inf"), "cond must be finite"),
    (_top("tol = 1.0"), "tol must lie in [1e-290, 1), got 1.0"),
    (_top("tol = 0.0"), "tol must lie in [1e-290, 1), got 0.0"),
    (_top("stop = 'never'"), "stop must be one of steps, tol, got 'never'"),
    (_top("method = 'adam'"), "method must be one of bngd, gd, gdnp, wngd, sphere, wngrad, minibatch, got 'adam'"),
    (_top("method = 'gd'"), "eps_a must be left out for method 'gd'"),
    (GOOD + "seed = -1", "seed must be >= 0, got -1"),
    (GOOD + "w0 = 'north'", "w0 must be one of sphere, gradient"),
    (GOOD + "u = [1.0, 2.0]", "u must have length 3, got length 2"),
    (GOOD + "data = 'wine'", "got spectrum and data"),
    (GOOD + "target = 'y'", "problem.target goes with problem.csv"),
    (_problem("data = 'diabets'"), "did you mean 'diabetes'?"),
    (_problem("csv = 'missing.csv'", "target = 'y'"), "missing.csv"),
    ("trials = 2\n" + _problem("data = 'wine'"), "trials goes with problem.spectrum"),
    # too large
    (_changed("[3, 5]", "10000000000000"), "dim must be at most"),
    (_changed(":7", ":1000000000000"), "the number of values of eps must be at most"),
    (_changed("trials = 2", "trials = 1000000000000"), "trials must be at most"),
    (_changed(":7", ":1000000").replace("[0.5, 1.0]", '"0:1:1000000"'), "fit on the disk"),
]

# arguments after `olsbn`; {config} is a good config, {out} a path where nothing is
COMMANDS = [
    (["sweep"], "CONFIG.toml"),
    (["sweep", "{config}"], "--out"),
    (["sweep", "{config}", "--out", "{out}", "--workers", "0"], "--workers must be in [1, 4096], got 0"),
    (["plan", "{config}", "--workers", "9" * 20], "--workers must be in [1, 4096]"),
    (["sweep", "{config}", "--out", "{out}", "--shard", "3/2"], "--shard must be I/N"),
    (["sweep", "{config}", "--out", "{out}", "--scheduler", "tcp://127.0.0.1:1"], "cannot reach a Dask scheduler"),
    (["sweep", "{config}", "--out", "{out}/no/such/folder"], "a directory that exists"),
    (["status", "{out}"], "does not exist"),
]
