"""Tables as people have them: the numbers that are read, and how what is wrong is said and mended."""

import bz2
import gzip
import io
import lzma
import shlex
import zipfile

import numpy as np
import pandas as pd
import pytest

from olsbn import OLSProblem
from olsbn.cli.shell import main
from olsbn.problems.tables import TableError
from olsbn.sweeps import toml

RNG = np.random.default_rng(7)
X = np.round(RNG.standard_normal((20, 2)) * [1.0, 2.0], 3)
Y = np.round(3 * X[:, 0] - X[:, 1] + 0.1 * RNG.standard_normal(20), 3)
EXACT = OLSProblem.from_samples(X, Y)


def rows(sep=",", decimal=".", end="", before=None, number="{!r}"):
    """Return the lines of the table without a header."""
    lines = []
    for k, values in enumerate(zip(*X.T.tolist(), Y.tolist(), strict=True)):
        cells = [number.format(v).replace(".", decimal) for v in values]
        lines.append(sep.join([*([before(k)] if before else []), *cells]) + end)
    return lines


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def table(tmp_path, header, lines, name="t.csv"):
    return write(tmp_path / name, "\n".join([header, *lines]) + "\n")


def refused(call, *words):
    """The call raises ValueError or TypeError with one line that has the words."""
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and len(message) < 900, message
    for word in words:
        assert word in message, message
    return caught.value


# -------------------------------------------------------------------- what is read

READ = {
    "plain": ("a,b,y", rows()),
    "spaces": ("a b y", rows("  ")),
    "aligned": ("   a   b   y", rows("   ", number=" {!r:>9}")),
    "tabs": ("a\tb\ty", rows("\t")),
    "bars": ("a|b|y", rows("|")),
    "semicolons": ("a;b;y", rows(";")),
    "after the comma a space": ("a, b, y", rows(", ")),
    "quoted names with commas": ('"a, b","c (x, y)",y', rows()),
    "pandas' index": (",a,b,y", rows(before=str)),
    "pandas' index, read and written again": ("Unnamed: 0,a,b,y", rows(before=str)),
    "R's write.csv": ('"","a","b","y"', rows(before='"{}"'.format)),
    "R's write.table": ('"a" "b" "y"', rows(" ", before='"{}"'.format)),
    "trailing separators": ("a;b;y;;", rows(";", end=";;")),
    "trailing separators of the rows": ("a,b,y", rows(end=",")),
    "Excel's first line": ("sep=;\na;b;y", rows(";")),
    "blank lines": ("\n\na,b,y\n", [line for pair in zip(rows(), [""] * 20, strict=True) for line in pair]),
    "quoted numbers": ("a,b,y", rows(number='"{!r}"')),
}


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_tables_that_are_read_as_they_are(tmp_path, name, newline):
    header, lines = READ[name]
    path = write(tmp_path / "t.csv", newline.join([*header.split("\n"), *lines, ""]))
    found = OLSProblem.from_csv(path, "y")
    assert found == EXACT and found.n_inputs == found.rank == 2
    assert found.coefficients().target == "y"
    if "index" in name or "R's" in name:
        assert found.remarks == ("column 1 has no name, left out as an index",) and found.remarks[0] in repr(found)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252", "cp1251"])
def test_encodings_are_recognised_or_given(tmp_path, encoding):
    names = ("Größe", "Temp (°C)") if encoding != "cp1251" else ("рост", "вес")
    path = write(tmp_path / "t.csv", "\n".join([",".join([*names, "y"]), *rows()]).encode(encoding))
    given = {"encoding": encoding} if encoding == "cp1251" else {}
    found = OLSProblem.from_csv(path, "y", **given)
    assert found == EXACT and found.coefficients().columns == names
    assert ("cp1252" in "".join(found.remarks)) == (encoding == "cp1252")
    if encoding == "cp1251":  # names are guesswork, numbers are not
        assert OLSProblem.from_csv(path, "y") == EXACT
    refused(lambda: OLSProblem.from_csv(path, "y", encoding="no-such"), "encoding", "'no-such'")
    if encoding == "cp1252":
        refused(lambda: OLSProblem.from_csv(path, "y", encoding="utf-8"), "utf-8", "t.csv")


def test_compressed_tables_are_unpacked_by_their_ending(tmp_path):
    text = "\n".join(["a,b,y", *rows()]).encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("inside.csv", text)
    how = {"gz": gzip.compress(text), "bz2": bz2.compress(text), "xz": lzma.compress(text), "zip": packed.getvalue()}
    for ending, data in how.items():
        found = OLSProblem.from_csv(write(tmp_path / f"t.csv.{ending}", data), "y")
        assert found == EXACT and found.label == "t"
        refused(lambda e=ending, d=data: OLSProblem.from_csv(write(tmp_path / f"u.{e}", d[:-30]), "y"), f"u.{ending}")
        refused(lambda e=ending: OLSProblem.from_csv(write(tmp_path / f"v.{e}", text), "y"), f"v.{ending}")


def test_every_digit_is_read(tmp_path):
    numbers = RNG.standard_normal((50, 3)) * 10.0 ** RNG.integers(-30, 30, (50, 3))
    lines = [",".join(map(repr, row)) for row in numbers.tolist()]
    found = OLSProblem.from_csv(table(tmp_path, "a,b,y", lines), "y", standardize="inputs")
    assert found == OLSProblem.from_samples(numbers[:, :2], numbers[:, 2], standardize="inputs")
    german = [";".join(f"{v:_.3f}".replace(".", ",").replace("_", ".") for v in row) for row in 1e4 * X]
    path = table(tmp_path, "a;y", german)
    found = OLSProblem.from_csv(path, "y", decimal=",", thousands=".")
    assert found == OLSProblem.from_samples(np.round(1e4 * X[:, :1], 3), np.round(1e4 * X[:, 1], 3))


def test_signs_and_truth_values_are_numbers(tmp_path):
    signs = [
        f"${x},{b!r}%,{'TRUE' if y > 0 else 'False'},{y!r}" for x, b, y in zip(*X.T.tolist(), Y.tolist(), strict=True)
    ]
    signs = [line.replace("$-", "-$") for line in signs]
    found = OLSProblem.from_csv(table(tmp_path, "a,b,up,y", signs), "y")
    assert found == OLSProblem.from_samples(np.c_[X, Y > 0], Y)
    assert found.remarks == ("'a' is read without its '$'", "'b' is read without its '%'")
    mixed = [signs[0].replace("$", "€"), *signs[1:]]  # of two units no number is made
    refused(lambda: OLSProblem.from_csv(table(tmp_path, "a,b,up,y", mixed), "y"), "text in column 'a'")


def test_the_mark_of_comments_is_said_or_given(tmp_path):
    path = write(tmp_path / "t.csv", "\n".join(["# made by a logger, 2024", "a,b,y", "# and on", *rows()]))
    assert OLSProblem.from_csv(path, "y", comment="#") == EXACT
    error = refused(lambda: OLSProblem.from_csv(path, "y"), "begins with a comment", "comment='#'")
    assert OLSProblem.from_csv(path, "y", **error.remedies) == EXACT
    bio = table(tmp_path, "#a,b,y", rows())  # a header after all
    assert OLSProblem.from_csv(bio, "y").coefficients().columns == ("#a", "b")


def test_gaps_have_many_names(tmp_path):
    marks = ["", "NA", "nan", "#N/A", "-", ".", "<NA>", "?", "NULL", "None", "n/a", "#DIV/0!"]
    lines = [*rows(), *(f"{mark},{k},{k * k}" for k, mark in enumerate(marks))]
    path = table(tmp_path, "a,b,y", lines)
    refused(
        lambda: OLSProblem.from_csv(path, "y"), f"{len(marks)} of {20 + len(marks)} rows have gaps, in 'a'", "line 22"
    )
    found = OLSProblem.from_csv(path, "y", dropna=True)
    assert found == EXACT and found.n_dropped_rows == len(marks)
    said = f"{len(marks)} of {20 + len(marks)} rows with gaps are left out"
    assert said in found.remarks and said in repr(found) and said in found._repr_html_()
    path = table(tmp_path, "a,b,y", [*rows(), "-999,3,2"])
    assert OLSProblem.from_csv(path, "y") != EXACT
    assert OLSProblem.from_csv(path, "y", dropna=True, na_values=["-999"]) == EXACT


def test_no_names_are_asked_for(tmp_path):
    path = table(tmp_path, rows()[0], rows()[1:])
    error = refused(lambda: OLSProblem.from_csv(path, "c3"), "first row holds numbers", "c1 to c3", "header=None")
    assert OLSProblem.from_csv(path, "c3", **error.remedies) == EXACT
    years = table(
        tmp_path,
        "country,2019,2020",
        [f"x{k},{a!r},{y!r}" for k, (a, y) in enumerate(zip(X[:, 0].tolist(), Y.tolist(), strict=True))],
    )
    found = OLSProblem.from_csv(years, "2020", header=0, drop=["country"])
    assert found == OLSProblem.from_samples(X[:, :1], Y)
    abalone = table(
        tmp_path, "M,0.455,0.365,15", [f"F,{a!r},{b!r},{y!r}" for (a, b), y in zip(X.tolist(), Y.tolist(), strict=True)]
    )
    refused(lambda: OLSProblem.from_csv(abalone, "c4"), "first row holds numbers", "categories='onehot'")
    refused(lambda: OLSProblem.from_csv(path, "c3", header="no"), "header", "'no'")


def test_text_becomes_indicators_if_asked(tmp_path):
    kinds = ["oak", "ash", "elm"]
    lines = [f"{line},{kinds[k % 3]}" for k, line in enumerate(rows())]
    path = table(tmp_path, "a,b,y,tree", lines)
    error = refused(
        lambda: OLSProblem.from_csv(path, "y"), "text in column 'tree' ('oak' in line 2)", "categories='onehot'"
    )
    found = OLSProblem.from_csv(path, "y", **error.remedies)
    k = np.arange(20) % 3
    assert found == OLSProblem.from_samples(np.c_[X, k == 2, k == 0], Y)
    assert found.coefficients().columns == ("a", "b", "tree=elm", "tree=oak")
    assert found.remarks == ("'tree' is 2 indicators, 0 for 'ash'",)
    assert OLSProblem.from_dataframe(pd.read_csv(path), "y", categories="onehot") == found
    refused(lambda: OLSProblem.from_csv(path, "y", categories="yes"), "categories", "'yes'")


# -------------------------------------------------------------------- what is not

BROKEN = """id;size;name (a, b);age;one;price;wt;same
a1;1,5;x;3;7;10;1.500,5;1,5
a2;2;y;;7;12;2.000;2
a3;4;x;5;7;19;3.000;4
a4;NA;x;6;7;20;1.000;NA
a5;7;y;9;7;33;9.500;7
a6;8;y;1;7;34;n. a.;8
"""


def test_all_that_is_wrong_is_said_at_once_with_what_mends_it(tmp_path, capsys):
    path = write(tmp_path / "t.csv", BROKEN)
    error = refused(
        lambda: OLSProblem.from_csv(path, "price"),
        "'1,5'",
        "'id' ('a1' in line 2)",
        "'name (a, b)'",
        "3 of 6 rows have gaps",
        "'one' = 7.0",
        "'same' equal to 'size'",
        "'n. a.' (line 7)",
        "decimal=','",
    )
    assert not error.hopeless and str(error).count("\n") == 0
    found = OLSProblem.from_csv(path, "price", **error.remedies)
    x = np.array([3, 5, 9.0])
    assert found == OLSProblem.from_samples(np.c_[[1.5, 4, 7], [0, 0, 1], x, [1500.5, 3000, 9500]], [10, 19, 33])
    # the same, as it is typed and as it is written into a config
    with pytest.raises(SystemExit):
        main(["spectrum", "--csv", str(path), "--target", "price"])
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    with pytest.raises(SystemExit) as stop:
        main(["spectrum", "--csv", str(path), "--target", "price", *typed(line)])
    out = capsys.readouterr().out
    assert not stop.value.code and found.label in out and "3 of 6 rows with gaps are left out" in out
    config = f"n_steps = 5\neps = 0.1\n[problem]\ncsv = '{path}'\ntarget = 'price'\n"
    (tmp_path / "c.toml").write_text(config)
    message = str(refused(lambda: toml.load(tmp_path / "c.toml"), "mended by"))
    pairs = message.partition("mended by ")[2]
    for name in ("drop", "decimal", "thousands", "categories", "dropna", "na_values"):
        pairs = pairs.replace(f", {name} = ", f"\n{name} = ")
    (tmp_path / "c.toml").write_text(config + pairs)
    assert toml.load(tmp_path / "c.toml").source == found


def typed(line):
    """Return the options that a message of the command line ends with."""
    return shlex.split(line.strip().partition("mended by ")[2])


DEFECTS = {
    "text": lambda t, k: (f"{t},txt", f"w{k}"),
    "constant": lambda t, k: (f"{t},c", "2.5"),
    "gap": lambda t, k: (f"{t},g", "" if k % 4 == 1 else str(k * k)),
    "mostly empty": lambda t, k: (f"{t},e", "" if k != 3 else "1"),
    "class": lambda t, k: (f"{t},k", "uv"[k % 2]),
    "thousands": lambda t, k: (f"{t},m", f'"{1000 + 37 * k * k:,}"'),
    "twin": lambda t, k: (f"{t},n", repr(float(X[k, 0]))),
    "date": lambda t, k: (f"{t},when", f"2024-01-{k + 1:02}"),
    "infinite": lambda t, k: (f"{t},inf", "inf" if k == 2 else str(k)),
    "word": lambda t, k: (f"{t},o", "out" if k == 5 else str(k**3)),
    "name with a comma": lambda t, k: (f'{t},"p, ""q"""', f"z{k}"),
}


@pytest.mark.parametrize("seed", range(40))
def test_what_mends_a_table_does(tmp_path, seed):
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(list(DEFECTS))[: rng.integers(1, len(DEFECTS) + 1)]
    header, lines = "a,b,y", rows()
    for name in chosen:
        made = [DEFECTS[name](header, k) for k in range(20)]
        header, lines = made[0][0], [f"{line},{cell}" for line, (_, cell) in zip(lines, made, strict=True)]
    path = table(tmp_path, header, lines)
    error = refused(lambda: OLSProblem.from_csv(path, "y"), "mended by")
    found = OLSProblem.from_csv(path, "y", **error.remedies)
    used = [name for name in chosen if name in ("gap", "class", "thousands", "infinite", "word")]
    k = np.arange(20)
    gaps = {"gap": k % 4 == 1, "word": k == 5, "infinite": k == 2}
    kept = ~np.any([gaps.get(name, k < 0) for name in used] + [k < 0], axis=0)
    extra = {"gap": k * k, "class": k % 2, "thousands": 1000 + 37 * k * k, "word": k**3, "infinite": k}
    expected = np.column_stack([X, *(extra[name] for name in used)])[kept]
    assert found == OLSProblem.from_samples(expected, Y[kept]) and found.n_dropped_rows == 20 - kept.sum()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ("empty file",)),
        ("\n\n", ("empty file",)),
        ("a,b,y\n", ("two data rows", "got 0")),
        ("a,b,y\n1,2,3\n", ("two rows", "got 1")),
        ("y\n1\n2\n", ("besides the target",)),
        ("a,b,z\n1,2,3\n2,5,4\n", ("target", "a, b, z", "'y'")),
        ("a,b,y\n1,2,3\n2,red,4\n", ("'red'", "'b'", "line 3")),
        ("a,b,y\n1,2,3\n2,,4\n3,1,2\n", ("gaps", "'b'", "line 3")),
        ("a,b,y\n1,2,3\n2,1,1e999\n", ("'1e999'", "'y'")),
        ("a,b,y\n1,2,3\n2,1_0,4\n", ("'1_0'",)),
        ("a,b,y\n1,2,3\n2,5\n", ("3 values", "got 2", "line 3")),
        ("a,b,y\n1,2,3\n2,5,6,7\n", ("3 values", "got 4", "line 3")),
        ("a,b,y\n1,2,3\n2,5,1\n3,1\n", ("3 values", "got 2", "line 4")),
        ("a b y\n1 2 3\n2 5 1\n3 1\n", ("3 values", "got 2", "line 4")),
        ('a,b,y\n1,2,3\n2,"5\n",1\n3,1\n', ("3 values", "got 2", "line 5")),
        ("a,b,y\n1,2,3\n1,5,4\n", ("constant", "'a'", "1.0")),
        ("a,b,y\n1,2,3\n2,5,3\n", ("constant", "'y'", "3.0")),
        ("a,b,y\n1,1,3\n2,2,4\n", ("duplicate", "'b'", "'a'")),
        ("a,b,y\n0,-0,3\n2,2,4\n", ("duplicate", "'b'", "'a'")),
        ("a,b,y\n3,1,3\n4,5,4\n", ("duplicate", "'a'", "'y'", "drop=['a']")),
        ("a,a,y\n1,2,3\n2,5,4\n", ("several columns", "'a'")),
        ("y,a,y\n1,2,3\n2,5,4\n", ("name of its own", "'y'")),
        ("a,b,y\n1,2,dog\n2,5,cat\n3,5,cat\n4,1,dog\n", ("target 'y' holds text", "'dog'", "class labels")),
        (b"a,b,y\n1,2,3\n2,\xff\xfe,4\n", ("'ÿþ'",)),
        (b"\x89PNG\r\n\x1a\n\x00\x00", ("NUL",)),
        (b"PK\x03\x04\x14\x00", ("spreadsheet",)),
        (b"a,b,y\n1,\x00,3\n2,5,4\n", ("NUL",)),
        ('a,b,y\n1,2,3\n2,"5' + "x" * 200_000 + "\n", ("table of text", "EOF inside string")),
    ],
)
def test_bad_tables_are_refused(tmp_path, text, words):
    path = write(tmp_path / "t.csv", text)
    refused(lambda: OLSProblem.from_csv(path, "y"), "t.csv", *words)


def test_tables_that_cannot_be_opened(tmp_path):
    refused(lambda: OLSProblem.from_csv(tmp_path / "none.csv", "y"), "none.csv", "No such file")
    refused(lambda: OLSProblem.from_csv(tmp_path, "y"), str(tmp_path), "directory")
    refused(lambda: OLSProblem.from_csv(None, "y"), "None")
    path = write(tmp_path / "t.csv", "a,y\n1,2\n2,4\n")
    refused(lambda: OLSProblem.from_csv(path, None), "target", "None")


def test_arguments_are_checked(tmp_path):
    path = table(tmp_path, "a,b,y", rows())
    for name, bad in (
        ("sep", "ab"),
        ("sep", 3),
        ("decimal", "x"),
        ("thousands", "x"),
        ("comment", 3),
        ("encoding", 3),
        ("header", 2),
        ("header", "yes"),
        ("dropna", 1),
        ("drop", "a"),
        ("columns", 3),
        ("standardize", "target"),
    ):
        refused(lambda n=name, b=bad: OLSProblem.from_csv(path, "y", **{n: b}), name, repr(bad))
    refused(lambda: OLSProblem.from_csv(path, "y", decimal=",", thousands=","), "must differ")
    refused(lambda: OLSProblem.from_csv(path, "y", drop=["a,b"]), "'a,b'", "one name each time")


def test_an_ambiguous_number_says_how_it_is_taken(tmp_path):
    path = table(tmp_path, "a,y", [f'"{k},{100 + 7 * k}",{k * k}' for k in range(1, 9)])
    error = refused(lambda: OLSProblem.from_csv(path, "y"), "taken as 1107, not 1.107", "thousands=','")
    found = OLSProblem.from_csv(path, "y", **error.remedies)
    k = np.arange(1.0, 9)
    assert found == OLSProblem.from_samples((1000 * k + 100 + 7 * k)[:, None], k * k)
    found = OLSProblem.from_csv(path, "y", decimal=",")
    assert found == OLSProblem.from_samples((np.round(k + (100 + 7 * k) / 1000, 3))[:, None], k * k)


# -------------------------------------------------------------------- what was lost


def test_lost_inputs_are_named(tmp_path):
    far = np.c_[X[:, 0] * 1e12 + 5e12, X[:, 1] * 1e-6]
    apart = OLSProblem.from_samples(far, Y, columns=["bytes", "frac"])
    assert (apart.rank, apart.n_inputs) == (1, 2)
    assert apart.remarks == (
        "rank 1 of 2 inputs: 'frac' is below the rounding of the largest (standardize the inputs)",
    )
    assert OLSProblem.from_samples(far, Y, standardize="inputs").remarks == ()
    given = OLSProblem.from_samples(np.c_[X, X[:, 0] + X[:, 1]], Y, columns=["a", "b", "sum"])
    assert given.rank == 2 and len(given.sample.lost_inputs()) == 1
    assert "given by the others, to rounding" in repr(given)
    wide = OLSProblem.from_samples(RNG.standard_normal((5, 9)), RNG.standard_normal(5))
    assert wide.remarks == ("rank 4 of 9 inputs: 5 rows have no more",)
    assert OLSProblem.from_moments([[1.0, 1.0], [1.0, 1.0]], [1.0, 1.0]).n_inputs == 2


# -------------------------------------------------------------------- tables with named columns


def test_frames_take_an_index_an_array_and_numbers_as_names():
    frame = pd.DataFrame(np.c_[X, Y, Y**2])
    for drop in ([3], np.array([3]), pd.Index([3]), frame.columns[3:], (3,)):
        assert OLSProblem.from_dataframe(frame, 2, drop=drop) == EXACT
    for columns in ([0, 1], np.array([0, 1]), frame.columns[:2]):
        found = OLSProblem.from_dataframe(frame, 2, columns=columns)
        assert found == EXACT and found.coefficients().columns == ("0", "1")
    refused(lambda: OLSProblem.from_dataframe(frame, 5), "target", "0, 1, 2, 3", "got 5")


def test_frames_are_checked_as_files_are(tmp_path):
    path = write(tmp_path / "t.csv", BROKEN)
    frame = pd.read_csv(path, sep=";", decimal=",", thousands=".", na_values=["n. a."])
    error = refused(lambda: OLSProblem.from_dataframe(frame, "price"), "df:", "'a1' in row 0", "dropna=True")
    found = OLSProblem.from_dataframe(frame, "price", **error.remedies)
    for other in (frame.convert_dtypes(), frame.astype({"name (a, b)": "category"}), frame.astype(object)):
        assert OLSProblem.from_dataframe(other, "price", **error.remedies) == found
    assert found.n_dropped_rows == 3
    dates = pd.DataFrame({"when": pd.date_range("2024-01-01", periods=20), "a": X[:, 0], "y": Y})
    refused(lambda: OLSProblem.from_dataframe(dates, "y"), "'when'", "drop=['when']")
    refused(lambda: OLSProblem.from_dataframe([[1, 2]], "y"), "df", "list")
    refused(lambda: OLSProblem.from_dataframe(pd.DataFrame([[1, 2]], columns=["y", "y"]), "y"), "'y' twice")
    refused(lambda: OLSProblem.from_dataframe(pd.DataFrame({"a": [1, 1], "y": [1, 2]}), "y"), "constant", "'a'")


def test_columns_that_are_not_there_are_refused_by_name(tmp_path):
    path = write(tmp_path / "mine.csv", "a,b,c,y\n1,2,3,4\n2,1,5,7\n0,1,1,1\n")
    for call in (
        lambda **k: OLSProblem.from_csv(path, "y", **k),
        lambda **k: OLSProblem.from_dataframe(pd.read_csv(path), "y", **k),
    ):
        assert call(columns=["c", "a"]).coefficients().columns == ("c", "a")
        assert call(drop=["b"]).coefficients().columns == ("a", "c")
        refused(lambda c=call: c(drop=["z"]), "drop", "'z'", "a, b, c, y")
        refused(lambda c=call: c(columns=["z"]), "columns", "'z'")
        refused(lambda c=call: c(columns=["a"], drop=["b"]), "columns and drop")
        refused(lambda c=call: c(columns=["a", "y"]), "target", "'y'")
        refused(lambda c=call: c(drop=["a", "b", "c"]), "at least one column besides the target")
        refused(lambda c=call: c(drop="a"), "drop", "list")
        refused(lambda c=call: c(dropna=1), "dropna", "1")


def test_what_mends_a_choice_of_columns_is_a_choice(tmp_path):
    path = write(tmp_path / "t.csv", BROKEN)
    error = refused(lambda: OLSProblem.from_csv(path, "price", columns=["age", "id", "one"]), "columns=['age']")
    assert OLSProblem.from_csv(path, "price", **error.remedies).coefficients().columns == ("age",)
    assert isinstance(error, TableError)
