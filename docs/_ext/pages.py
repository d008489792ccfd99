"""The pages that are made when the site is built: gallery, claims by source, reference, root pages."""

import ast
import re
import textwrap
from pathlib import Path

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent
MADE = DOCS / "made"

# Public names by subject. A name that is public and not here, or here and not public, ends the build.
SUBJECTS = {
    "Problems": ["OLSProblem", "ProblemFamily"],
    "Runs and sweeps": ["run", "run_gd", "run_bngd", "sweep", "open", "methods", "quantities", "derive"],
    "Theory": [
        "spectral_report", "gd_contraction_ratio", "bngd_contraction_ratio", "effective_rate_regimes", "eps_window",
        "excited_modes",
    ],
    "Questions": [
        "recommend", "measured_window", "compare", "robustness", "over_trials", "median_trial", "explore",
        "zoom",
    ],
    "Proof": ["certify", "resolve", "claims"],
}  # fmt: skip
# Names that authors of methods, sinks and quantities use; they are imported from their modules.
FOR_AUTHORS = {
    "olsbn.dynamics.base": ["Method", "Param", "Option"],
    "olsbn.dynamics.predictions": ["Theory"],
    "olsbn.engine.step": ["Step"],
    "olsbn.quantity": ["Quantity", "Column", "Derived"],
    "olsbn.sweeps.sinks": ["Sink"],
    "olsbn.testing": ["SinkTests", "MethodTests"],
    "olsbn.theory": ["SpectralReport", "EffectiveRateRegimes", "EpsWindow"],
    "olsbn.search.measured": ["MeasuredWindow"],
    "olsbn.ledger": ["Claim", "Result"],
}


def reference():
    """Return the page of all public names: nothing that is public is missing, and nothing else is there."""
    from importlib import import_module

    import olsbn

    public = set(olsbn.__all__) - {"__version__", "plotting"}
    known = {name for names in SUBJECTS.values() for name in names}
    if public - known:
        raise ValueError(f"docs/_ext/pages.py must say the subject of {', '.join(sorted(public - known))}")
    parts = ["# Reference\n", "Everything that is public. What is not here may change without notice.\n"]
    for subject, names in SUBJECTS.items():
        parts.append(section(subject, [f"olsbn.{name}" for name in names if name in public]))
    pictures = [f"olsbn.plotting.{name}" for name in olsbn.plotting.__all__ if name != "QUANTITIES"]
    parts.append(section("Pictures", pictures))
    own = [
        f"{module}.{name}" for module, names in FOR_AUTHORS.items() for name in names
        if hasattr(import_module(module), name)
    ]  # fmt: skip
    parts.append(section("What functions return, and what authors of methods and sinks use", own))
    return {"reference.md": "\n".join(parts)}


def section(title, names):
    """Return a heading with a table of names."""
    lines = "\n".join(names)
    return (
        f"## {title}\n\n```{{eval-rst}}\n.. autosummary::\n   :toctree: api\n\n{textwrap.indent(lines, '   ')}\n```\n"
    )


def claims():
    """Return the page of claims divided by source, each with its verdicts."""
    text = (DOCS / "claims.md").read_text(encoding="utf-8")
    intro, *sources = re.split(r"(?m)^(?=## )", text)
    first, pages, names = [intro], {}, []
    for part in sources:
        title = part.partition("\n")[0].removeprefix("## ").strip()
        if f"(#{title})" in intro:
            names.append(title)
            pages[f"claims-{title}.md"] = re.sub(r"(?m)^#(#+ )", r"\1", part)
        else:
            first.append(part)
    page = "".join(first)
    for name in names:
        page = page.replace(f"(#{name})", f"(claims-{name}.md)")
    tree = "\n".join(f"claims-{name}" for name in names)
    pages["claims.md"] = f"{page}\n```{{toctree}}\n:hidden:\n\n{tree}\n```\n"
    return pages


def gallery():
    """Return the page of all figures of the experiments: picture, caption with its numbers, code and data."""
    parts = [
        "# Gallery\n",
        "Each figure comes from a short script. `python experiments/NAME.py` computes its numbers and draws it again.",
        "With `--smoke`, where a script has it, a small version takes seconds.\n",
    ]
    for script in sorted((ROOT / "experiments").glob("*.py")):
        source = script.read_text(encoding="utf-8")
        figures = [
            path for path in sorted((ROOT / "figures").rglob("*.png"))
            if f'"{path.stem}"' in source or f"{path.stem}." in source or path.stem == script.stem.replace("_", "-")
        ]  # fmt: skip
        if not figures:
            continue
        about = ast.get_docstring(ast.parse(source)).partition("\n")[0]
        parts.append(f"## {script.stem.replace('_', ' ').capitalize()}\n")
        parts.append(f"{about}\n")
        for path in figures:
            place = f"../../figures/{path.relative_to(ROOT / 'figures').as_posix()}"
            files = [path.with_suffix(ending) for ending in (".pdf", ".csv", ".nc")]
            links = "".join(
                f" · {{download}}`{file.suffix[1:].upper()} <{place.removesuffix('.png')}{file.suffix}>`"
                for file in files
                if file.exists()
            )
            width = "480px" if int.from_bytes(path.read_bytes()[16:20]) < 1100 else "100%"  # one column of a paper
            parts.append(f"```{{image}} {place}\n:alt: {about}\n:width: {width}\n```\n")
            if (caption := caption_of(path.with_suffix(".csv"))) is not None:
                parts.append(f"{caption}\n")
            parts.append(f"{{download}}`Code <../../experiments/{script.name}>` · {{download}}`PNG <{place}>`{links}\n")
    return {"gallery.md": "\n".join(parts)}


def caption_of(path):
    """Return the caption at the head of a table, if there is one."""
    if not path.exists():
        return None
    lines = path.read_text(encoding="utf-8").splitlines()
    words = " ".join(line.removeprefix("#").strip() for line in lines if line.startswith("#"))
    return re.sub(r"([_*])", r"\\\1", words) or None


def root_pages():
    """Return the pages of the repository's root, with links that hold in the site."""
    pages = {}
    for name in ("CONTRIBUTING", "CHANGELOG"):
        text = (ROOT / f"{name}.md").read_text(encoding="utf-8")
        pages[f"{name.lower()}.md"] = text.replace("](docs/", "](../").replace("](SECURITY.md)", "](../security.md)")
    return pages


def write(app):
    """Write the pages, where they have changed."""
    MADE.mkdir(exist_ok=True)
    pages = reference() | claims() | gallery() | root_pages()
    for path in MADE.glob("*.md"):
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        path = MADE / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def setup(app):
    """Make the pages before the sources are read; links to claims.md go to the divided page."""
    write(app)
    app.connect("source-read", lambda app, name, source: source.__setitem__(0, linked(name, source[0])))
    return {"parallel_read_safe": True}


def linked(name, text):
    """Return a page with links that hold on the site: claims.md is divided there."""
    return text if name.startswith("made/") else text.replace("](claims.md)", "](made/claims.md)")
