"""Print the oldest versions that setup.cfg allows, as constraints for pip: ``python tools/oldest.py > oldest.txt``."""

import configparser
import re
from pathlib import Path


def oldest():
    """Return a pin for each lower bound of the package and of the extras that tests need."""
    config = configparser.ConfigParser()
    config.read(Path(__file__).parents[1] / "setup.cfg", encoding="utf-8")
    lines = config["options"]["install_requires"].splitlines()
    for extra in ("data", "dask", "certify"):
        lines += config["options.extras_require"][extra].splitlines()
    bounds = (re.fullmatch(r"([\w.-]+)(?:\[\w+\])?>=([\w.]+)", line.strip()) for line in lines)
    return [f"{bound[1]}=={bound[2]}" for bound in bounds if bound]


if __name__ == "__main__":
    print("\n".join(oldest()))
