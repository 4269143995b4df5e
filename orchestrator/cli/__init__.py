"""The command line: `main` and the table of its commands. A command's module is imported when it runs, nothing before.

Exit codes are those of design.md section 6; an error is two lines on stderr, a traceback only for a bug (with -v).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from orchestrator.cli.shared import Shared

VERSION = "0.1.0"
COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("init", "Write a new site: the ten-week plan's, or a minimal one."),
    "validate": ("validate", "Check the site alone, offline."),
    "schema": ("validate", "Print the JSON Schema of a site."),
    "doctor": ("doctor", "Check this workstation: programs, versions, credentials, the state folder."),
    "plan": ("plan", "Show what `up` would do, changing nothing."),
    "up": ("up", "Run the plan, or go on where it stopped."),
    "resume": ("up", "Go on with the run that stopped, with its selection."),
    "status": ("status", "Show where the weeks stand."),
    "verify": ("verify", "Ask the gates of finished phases again, and look for drift."),
    "approve": ("decide", "Approve a step that waits for a person."),
    "resolve": ("decide", "Say how an unknown outcome was found."),
    "unlock": ("decide", "Take over the lock of an owner that is gone."),
    "history": ("history", "Show the journal, or verify its chain."),
    "render": ("render", "Write the configs and the Git tree to a folder."),
    "kubeconfig": ("kubeconfig", "Print the kubeconfig of one cluster, or of all."),
    "rehearse": ("rehearse", "Run the whole plan in the embedded lab."),
    "lab": ("lab", "Start, stop and look into the embedded lab."),
    "completion": ("completion", "Print the completion script of a shell."),
    "version": ("version", "Print the version."),
}
EVERYWHERE = ("--no-color", "--non-interactive", "-q", "--quiet", "-v", "--verbose")


class Commands(click.Group):
    """A group that imports a command when it is asked for, and lists all without importing any."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        import importlib

        module = importlib.import_module(f"orchestrator.cli.{COMMANDS[name][0]}")
        command: click.Command = getattr(module, name)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, 1)
            raise click.UsageError(f"no command {args[0]!r}" + (f"; did you mean {near[0]}?" if near else "; see bootstrap --help"), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "BOOTSTRAP", "max_content_width": 110})
@click.option("-C", "directory", metavar="DIR", envvar="BOOTSTRAP_DIR", type=click.Path(), default=".", help="Run as if started in DIR.")
@click.option("--site", "site_file", metavar="FILE", envvar="BOOTSTRAP_SITE", type=click.Path(), default=None, help="The site file (default: site.yaml).")
@click.option("--no-color", is_flag=True, envvar=["BOOTSTRAP_NO_COLOR", "NO_COLOR"], help="Plain text.")
@click.option("--non-interactive", is_flag=True, envvar="BOOTSTRAP_NON_INTERACTIVE", help="Never ask.")
@click.option("-q", "--quiet", is_flag=True, envvar="BOOTSTRAP_QUIET", help="Only results and errors.")
@click.option("-v", "--verbose", is_flag=True, envvar="BOOTSTRAP_VERBOSE", help="More: notes, evidence, tracebacks.")
@click.version_option(VERSION, prog_name="bootstrap")
@click.pass_context
def cli(ctx: click.Context, directory: str, site_file: str | None, no_color: bool, non_interactive: bool, quiet: bool, verbose: bool) -> None:
    """From blank machines to a proven platform: asks before it acts, acts once, proves the effect, writes down what it did.

    \b
    First time:    bootstrap init, bootstrap validate, bootstrap doctor
    The real day:  bootstrap plan, bootstrap up, bootstrap status
    Before it:     bootstrap rehearse
    """
    from orchestrator.cli.shared import Shared

    started: list[Shared] | None = ctx.obj
    ctx.obj = Shared(directory, site_file, color=not no_color, interactive=not non_interactive, quiet=quiet, verbose=verbose)
    if started is not None:
        started.append(ctx.obj)


def main() -> None:
    """Run the command line and end the process with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(argv: list[str]) -> int:
    """The exit code of one command line."""
    started: list[Shared] = []
    try:
        result = cli.main(hoisted(argv), prog_name="bootstrap", standalone_mode=False, obj=started)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.Abort:
        click.echo("stopped", err=True)
        return 130
    except click.ClickException as error:
        _usage(error)
        return 64
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output is gone: say nothing more
        return 141
    except Exception as error:
        from orchestrator.cli.failing import report_failure

        return report_failure(error, verbose="-v" in argv or "--verbose" in argv, mask=started[0].mask if started else str)


def hoisted(argv: list[str]) -> list[str]:
    """How to speak can be said before or after the command; the lab's own options are its own."""
    rest = argv[: argv.index("--")] if "--" in argv else argv
    if "lab" in rest:
        rest = rest[: rest.index("lab")]
    front = [word for word in rest if word in EVERYWHERE]
    return front + [word for word in rest if word not in EVERYWHERE] + argv[len(rest) :]


def _usage(error: click.ClickException) -> None:
    click.echo(f"error: {error.format_message()}", err=True)
    context = getattr(error, "ctx", None)
    if context is not None:
        click.echo(f"hint: {context.command_path} --help", err=True)
