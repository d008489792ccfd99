"""What all commands share: the group, signals, exit codes, and what went wrong in one line."""

from __future__ import annotations

import atexit
import gc
import logging
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, NoReturn

import click

from olsbn import __version__, compiling
from olsbn._text import as_text
from olsbn.cli.completion import completion_of
from olsbn.files import printable

# Exit codes: 0 done, 1 finished with failures, 2 bad input, 128 + signal number when interrupted.
FAILURES, BAD_INPUT = 1, 2


def start() -> None:
    """Run the command `olsbn`, with less garbage collection: most of what a command allocates is modules.

    They take a quarter longer to import, and to tear down at exit, with the interpreter's defaults.
    """
    os.environ["MPLBACKEND"] = "agg"  # pictures go to files, whatever a notebook has set for what it starts
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="surrogateescape")  # names of files are bytes, of any encoding
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
    main()


class _Signal(BaseException):
    """SIGINT or SIGTERM arrived: unwinds the stack, and is said once."""

    words: ClassVar[dict[int, str]] = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}

    def __init__(self, number: int, message: str) -> None:
        self.code, self._message, self._said = 128 + number, message, threading.Event()

    def say(self) -> None:
        if not self._said.is_set():
            self._said.set()
            click.echo(self._message, err=True)

    def leave(self) -> None:
        self.say()
        os._exit(self.code)


class _Pipe(BaseException):
    """The reader of standard output, such as `head`, has seen enough."""


_NO_LIMIT = 1000  # characters of a command's first sentence in the list of commands


class _Group(click.Group):
    """A group of commands that says what went wrong in one line."""

    def main(self, args: Any = None, prog_name: str | None = None, **extra: Any) -> NoReturn:  # type: ignore[override]
        args = list(sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        try:
            with _signals_raise(" ".join(["olsbn", *[arg for arg in args if arg in self.commands][:1]])):
                code = super().main(args, "olsbn", obj=args, **extra)
        except click.ClickException as err:
            code = err.exit_code
            complain(err.format_message(), getattr(err, "ctx", None))
        except _Signal as stop:
            code = stop.code
            stop.say()
        except _Pipe:
            code = 128 + signal.SIGPIPE
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(code if isinstance(code, int) else 0)

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        if cmd.help:  # click's mark for text that is not to be filled, which raw docstrings spell out
            cmd.help = cmd.help.replace(r"\b", "\b")
        for param in cmd.params:
            if (completion := completion_of(param)) is not None:
                param._custom_shell_complete = completion
        super().add_command(cmd, name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands, each with its whole first sentence: click would cut it to a line."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, cmd.get_short_help_str(limit=_NO_LIMIT)) for name, cmd in sorted(self.commands.items())]
            )

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as err:  # click would turn it into exit code 1
            raise _Pipe from err


def complain(message: str, ctx: click.Context | None = None) -> None:
    """Say in one line on standard error what is wrong."""
    ctx = ctx or click.get_current_context(silent=True)
    text = printable(" ".join(message.split()))  # of a file's title, say, which may be anybody's
    click.echo(f"{ctx.command_path if ctx else 'olsbn'}: {text}", err=True)


@contextmanager
def _signals_raise(name: str) -> Iterator[None]:
    """Let SIGINT and SIGTERM unwind the stack, so that nothing half-made is left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: object) -> NoReturn:
        context = click.get_current_context(silent=True)
        safe = context.meta.get(_SAFE) if context else None
        signalled = _Signal(number, f"{name}: {safe or _Signal.words[number]}")
        if safe:
            # what cannot be interrupted (a kernel that is being compiled, a worker that does not answer) is not waited
            # for; a second signal ends the process at once
            timer = threading.Timer(1.0, signalled.leave)
            timer.daemon = True
            timer.start()
            for again in _Signal.words:
                signal.signal(again, signal.SIG_DFL)
        raise signalled

    before = {number: signal.signal(number, stop) for number in _Signal.words}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_SAFE = "olsbn.cli.safe"


@contextmanager
def stops_in_time(message: str) -> Iterator[None]:
    """In here a signal ends the process after a second at the latest, saying `message`: what is finished is safe."""
    meta = click.get_current_context().meta
    meta[_SAFE] = message
    try:
        yield
    finally:
        meta.pop(_SAFE)


@contextmanager
def bad_input() -> Iterator[None]:
    """Turn what the library's boundary refuses into one line and exit code 2.

    Only the part of a command that checks its input belongs in here: an error further on is a bug and shows where.
    """
    try:
        yield
    except (ValueError, TypeError, ImportError, OSError) as err:
        raise click.UsageError(sentence(err), click.get_current_context(silent=True)) from err


@contextmanager
def may_fail(what: str) -> Iterator[None]:
    """Turn a full disk or exhausted memory into one line and exit code 1."""
    try:
        yield
    except BrokenPipeError:
        raise
    except (OSError, MemoryError) as err:
        raise click.ClickException(f"{what} failed: {sentence(err) or 'out of memory'}") from err


def sentence(err: BaseException) -> str:
    """Return what an exception says to a user."""
    if isinstance(err, OSError) and err.strerror:
        return f"{err.filename}: {err.strerror}" if err.filename else err.strerror
    return str(err)


def command_line() -> str:
    """Return the command as typed, for the provenance of results."""
    return as_text(shlex.join(["olsbn", *click.get_current_context().find_root().obj]))


class _Line(logging.Handler):
    """Says a message on a line of standard error, over a progress bar that may be there."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"{chr(13) + chr(27) + '[K' if sys.stderr.isatty() else ''}olsbn: {record.getMessage()}", err=True)


@click.group(cls=_Group, invoke_without_command=True, context_settings={"max_content_width": 110})
@click.version_option(__version__, prog_name="olsbn", message="%(prog)s %(version)s")
@click.option("-v", "--verbose", count=True, help="Say on standard error what is done; twice: of every tile.")
@click.pass_context
def main(ctx: click.Context, verbose: int) -> None:
    """What exactly does batch normalization do to gradient descent?

    An exact simulator on ordinary least squares (GD, and gradient descent with batch normalization, BNGD), with the
    theory beside every number. One linear unit and the squared loss, no network and no classifier: class labels are
    taken as numbers, and learning rates are those of this loss.
    """
    if verbose:
        logger = logging.getLogger("olsbn")
        logger.setLevel(logging.INFO if verbose == 1 else logging.DEBUG)
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        logger.addHandler(handler)
        ctx.call_on_close(lambda: logger.removeHandler(handler))
    first = logging.getLogger(compiling.__name__)
    if not verbose:
        first.setLevel(logging.INFO)
        line = _Line()
        first.addHandler(line)
        ctx.call_on_close(lambda: first.removeHandler(line))
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
