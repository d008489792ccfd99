"""Where BNGD converges over (eps, eps_a) and dimension: the robustness heat maps of [Cai], with the theory on them.

    python experiments/heat_map.py [--smoke]

Draws figures/heat-map.png; everything is done by `olsbn sweep` and `olsbn plot`.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

CONFIG = """
n_steps = {n_steps}
eps = "1e-5:1e7:41"
eps_a = "0.05:2.15:43"
dim = [10, 100, 1000]
trials = {trials}
tol = 1e-3
[problem]
spectrum = "linspace"
cond = 100
"""


def olsbn(*args):
    subprocess.run([sys.executable, "-m", "olsbn", *map(str, args)], check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a small version, drawn into the current directory")
    smoke = parser.parse_args().smoke
    figures = Path(".") if smoke else Path(__file__).resolve().parents[1] / "figures"
    with tempfile.TemporaryDirectory() as folder:
        config, store = Path(folder) / "heat-map.toml", Path(folder) / "heat-map.zarr"
        config.write_text(CONFIG.format(n_steps=100 if smoke else 2000, trials=3 if smoke else 50))
        olsbn("sweep", config, "--out", store)
        olsbn("plot", store, "--quantity", "excess", "--out", figures / "heat-map.png")


if __name__ == "__main__":
    main()
