"""The group of subcommands, its default, and the exit codes."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

import click

from vqclip.cli import ends, streams
from vqclip.cli.allocator import keep_freed_memory
from vqclip.errors import MemoryBudgetError, OutputError, UsageError, VqclipError, one_line
from vqclip.version import __version__

_COMMANDS = {
    "generate": "vqclip.cli.generate:generate",
    "animate": "vqclip.cli.animate:animate",
    "resume": "vqclip.cli.resume:resume",
    "train": "vqclip.cli.train:train",
    "evaluate": "vqclip.cli.evaluate:evaluate",
    "info": "vqclip.cli.info:info",
    "models": "vqclip.cli.models:models",
    "words": "vqclip.cli.words:words",
    "doctor": "vqclip.cli.doctor:doctor",
}
_LONGEST = 1500
# what the dynamic linker says where a library finds no room
_NO_ROOM = ("failed to map segment", "annot allocate memory")


class _Stopped(Exception):
    """Ctrl-C, or another signal, ended the command."""

    def __init__(self, exit_code: int) -> None:
        super().__init__("stopped")
        self.exit_code = exit_code


class DefaultGroup(click.Group):
    """A group whose first word is a subcommand only on an exact match; anything else is a prompt."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `generate` before arguments that name no subcommand."""
        if args and args[0] not in (*_COMMANDS, "--help", "-h", "--version"):
            args = ["generate", *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an interrupt is told of by `run`, since click would write to a stderr that may be gone."""
        try:
            return super().invoke(ctx)
        except ends.Ended as error:
            raise _Stopped(error.exit_code) from error
        except KeyboardInterrupt as error:
            raise _Stopped(130) from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the subcommands."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import a subcommand when it is asked for."""
        if name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[name].partition(":")
        command: click.Command = getattr(__import__(module, fromlist=[attribute]), attribute)
        return command


@click.group(cls=DefaultGroup, context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True)
@click.version_option(__version__, prog_name="vqclip")
def cli() -> None:
    """Draw what a sentence says: vqclip "a cat in Van Gogh style" --steps 500

    The first word is a subcommand only if it is exactly one of those below; anything else is the prompt of
    'vqclip generate', whose options 'vqclip generate --help' lists.
    """
    try:
        os.getcwd()
    except OSError:  # torch, for one, ends the process then
        raise OutputError("the working folder does not exist any more: change to another one") from None


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with the code of what came of it: README.md lists them."""
    streams.prepare()
    keep_freed_memory()
    with ends.raised():
        code = run(sys.argv[1:] if args is None else args)
    streams.finish()
    sys.exit(code)


def run(args: list[str]) -> int:
    """Run the command line and return its exit code; mistakes of the user end in one line on stderr."""
    try:
        code = cli.main(args, prog_name="vqclip", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        streams.tell(error.format_message())
        return 0
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    except UsageError as error:
        return _fail(str(error), error.exit_code, error.pointer)
    except VqclipError as error:
        return _fail(str(error), error.exit_code)
    except _Stopped as error:
        return _fail("stopped", error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return _fail("stopped", 130)
    except BrokenPipeError:
        return 1
    except MemoryError:
        return _fail("out of memory: give a smaller --size or fewer --views", MemoryBudgetError.exit_code)
    except (ImportError, OSError) as error:
        return _refused_by_system(error)
    except RuntimeError as error:
        from vqclip.errors import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        return _fail("out of memory: give a smaller --size or fewer --views", MemoryBudgetError.exit_code)


def _refused_by_system(error: ImportError | OSError) -> int:
    """Say what the system refused; a library that is missing or broken is a fault of the installation, and raised."""
    if any(words in str(error) for words in _NO_ROOM):
        words = f"not enough memory to load the libraries ({one_line(error)[:120]}): 'ulimit -v' may set a limit"
        return _fail(words, MemoryBudgetError.exit_code)
    if isinstance(error, ImportError):
        raise error
    return _fail(f"the system refused something: {one_line(error)}", VqclipError.exit_code)


def _fail(message: str, code: int, pointer: str = "") -> int:
    line = one_line(Exception(message))
    streams.tell(f"vqclip: {line if len(line) <= _LONGEST else line[:_LONGEST] + '...'}")
    if pointer:
        streams.tell(pointer)
    return code
