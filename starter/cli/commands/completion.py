"""The command that prints the completion script of a shell."""

import click

from starter.cli.arguments.options import examples


@click.command(
    epilog=examples(
        'eval "$(moorage completion bash)"',
        "moorage completion zsh > ~/.zfunc/_moorage",
        "moorage completion fish > ~/.config/fish/completions/moorage.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    It completes commands and options, and also the names of your environments, templates, teams and hosts.
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is None:  # pragma: no cover (Click knows these three)
        raise click.BadParameter(f'"{shell}" is not supported')
    click.echo(found(ctx.find_root().command, {}, "moorage", "_MOORAGE_COMPLETE").source())
