"""Put the public address of the repository into a copy of the sources: ``python tools/address.py FOLDER ADDRESS``.

An index page such as PyPI's shows README.md without its repository, so pictures and links need whole addresses there.
The sources themselves name no address. `make dist ADDRESS=https://...` uses this.
"""

import re
import sys
from pathlib import Path


def with_address(text, address, version):
    """Return Markdown whose pictures and links to files of the repository are whole addresses of a version."""
    text = re.sub(r"(!\[[^\]]*\]\()(?!https?:)([^)]+)", rf"\g<1>{address}/raw/v{version}/\g<2>", text)
    return re.sub(r"((?<!!)\[[^\]]*\]\()(?!https?:|#)([^)]+)", rf"\g<1>{address}/blob/v{version}/\g<2>", text)


def write(folder, address):
    """Change README.md, setup.cfg and CITATION.cff in a folder."""
    init = (folder / "olsbn" / "__init__.py").read_text(encoding="utf-8")
    version = re.search(r'__version__ = "([^"]+)"', init)[1]
    readme = folder / "README.md"
    readme.write_text(with_address(readme.read_text(encoding="utf-8"), address, version), encoding="utf-8")
    setup = folder / "setup.cfg"
    urls = {"Source": address, "Issues": f"{address}/issues", "Changelog": f"{address}/blob/main/CHANGELOG.md"}
    lines = "".join(f"    {name} = {url}\n" for name, url in urls.items())
    text = setup.read_text(encoding="utf-8")
    assert text.count("project_urls =\n") == 1
    setup.write_text(text.replace("project_urls =\n", f"project_urls =\n{lines}"), encoding="utf-8")
    citation = folder / "CITATION.cff"
    text = citation.read_text(encoding="utf-8")
    citation.write_text(text.replace("\nlicense:", f'\nrepository-code: "{address}"\nlicense:', 1), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]), sys.argv[2].rstrip("/"))
