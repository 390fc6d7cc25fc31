"""The group of subcommands, its default, and the exit codes."""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from vqclip.cli.allocator import keep_freed_memory
from vqclip.errors import MemoryBudgetError, VqclipError, one_line
from vqclip.version import __version__

_COMMANDS = {
    "generate": "vqclip.cli.generate:generate",
    "resume": "vqclip.cli.resume:resume",
    "train": "vqclip.cli.train:train",
    "evaluate": "vqclip.cli.evaluate:evaluate",
    "info": "vqclip.cli.info:info",
    "models": "vqclip.cli.models:models",
    "words": "vqclip.cli.words:words",
    "doctor": "vqclip.cli.doctor:doctor",
}
_LONGEST = 1500


class DefaultGroup(click.Group):
    """A group whose first word is a subcommand only on an exact match; anything else is a prompt."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `generate` before arguments that name no subcommand."""
        if args and args[0] not in (*_COMMANDS, "--help", "-h", "--version"):
            args = ["generate", *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the subcommands."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import a subcommand when it is asked for."""
        if name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[name].partition(":")
        return getattr(__import__(module, fromlist=[attribute]), attribute)


@click.group(cls=DefaultGroup, context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True)
@click.version_option(__version__, prog_name="vqclip")
def cli() -> None:
    """Draw what a sentence says: vqclip "a cat in Van Gogh style" --steps 500

    The first word is a subcommand only if it is exactly one of those below; anything else is the prompt of
    'vqclip generate', whose options 'vqclip generate --help' lists.
    """


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with the code of what came of it: README.md lists them."""
    keep_freed_memory()
    sys.exit(run(sys.argv[1:] if args is None else args))


def run(args: list[str]) -> int:
    """Run the command line and return its exit code; mistakes of the user end in one line on stderr."""
    try:
        code = cli.main(args, prog_name="vqclip", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 0
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    except VqclipError as error:
        return _fail(str(error), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return _fail("stopped", 130)
    except BrokenPipeError:
        return 1
    except MemoryError:
        return _fail("out of memory: give a smaller --size or fewer --views", MemoryBudgetError.exit_code)
    except RuntimeError as error:
        from vqclip.generation.recover import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        return _fail("out of memory: give a smaller --size or fewer --views", MemoryBudgetError.exit_code)


def _fail(message: str, code: int) -> int:
    line = one_line(Exception(message))
    click.echo(f"vqclip: {line if len(line) <= _LONGEST else line[:_LONGEST] + '...'}", err=True)
    return code
