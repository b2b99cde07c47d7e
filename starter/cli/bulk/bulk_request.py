"""One command that requests several environments: check all, send, follow, report."""

import sys
from collections.abc import Callable, Sequence

import click

from starter.cli.bulk.requests import BulkRequest
from starter.cli.command_context import api_session
from starter.cli.errors import Code, Output


def request_several(
    ctx: click.Context,
    read: Callable[[], Sequence[BulkRequest]],
    dry_run: bool,
    no_wait: bool,
    output: Output,
) -> None:
    """Request all environments, wait until each is ready, and report those that are not.

    Nothing is sent if one of the requests is not valid.
    """
    # Import them here, because most commands need none of it.
    from starter.cli.bulk.check import check_requests
    from starter.cli.bulk.run import BulkRun
    from starter.cli.bulk.summary import (
        Summary,
        count_line,
        failure_of,
        print_dry_run,
        print_interrupted,
        print_together,
        result_document,
    )
    from starter.cli.output.formatting import print_note
    from starter.cli.terminal.text import print_json

    with api_session(ctx, output) as api:
        requests = read()
        message = check_requests(api, requests)
        summary = Summary(sys.stderr, output)
        run = BulkRun(api, requests, summary.on_change)
        if dry_run:
            if output is Output.JSON:
                print_json({"message": message, "environments": [dict(one.body) for one in requests]})
            else:
                print_dry_run(run, message)
            return
        try:
            with summary.open(run.items):
                run.send()
                if not no_wait:
                    run.follow()
        except KeyboardInterrupt:
            print_interrupted(run.items)
            raise click.exceptions.Exit(Code.INTERRUPTED) from None
        if output is Output.JSON:
            print_json(result_document(run.items))
        failure = failure_of(run.items)
        if output is Output.TABLE:
            print_note(count_line(run.items))
            if started := [item for item in run.items if item.life]:
                print_together(started)
        if failure:
            raise failure
