"""The commands for bookings: room for an event, who has come, and the seat that a code gives."""

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from contracts.phases import Phase
from starter.cli.arguments.options import examples, no_wait_option, output_option, yes_option
from starter.cli.arguments.prompts import ask, confirm
from starter.cli.arguments.times import parse_local_time
from starter.cli.command_context import api_session
from starter.cli.completion import complete_booking, complete_template
from starter.cli.errors import CliError, Code, Output
from starter.cli.follow import creation_failure, follow_until, is_ready, print_next_commands
from starter.cli.output.formatting import print_note, print_table
from starter.cli.terminal.text import local_time, print_json, print_line
from starter.cli.views.base import parse, to_json
from starter.cli.views.bookings import BookingCodes, BookingList, BookingRow, BookingView, SeatCode

_codes_file_option = click.option(
    "--codes-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the codes to this file, for you alone, instead of printing them.",
)


@click.command(
    epilog=examples(
        "moorage book k8s-101 --template small --seats 20 "
        '--from "2030-01-31 09:00" --until "2030-01-31 17:00" --codes-file codes.txt'
    )
)
@click.argument("event")
@click.option(
    "--template", "-t", required=True, shell_complete=complete_template, help="Template of all seats."
)
@click.option("--seats", required=True, type=int, help="Number of seats, up to 99.")
@click.option(
    "--from",
    "starts",
    required=True,
    metavar="WHEN",
    help='Begin: "2030-01-31 09:00" in your time zone, or with a time zone.',
)
@click.option("--until", "ends", required=True, metavar="WHEN", help="End of the event and of all seats.")
@_codes_file_option
@output_option()
@click.pass_context
def book(
    ctx: click.Context,
    event: str,
    template: str,
    seats: int,
    starts: str,
    ends: str,
    codes_file: Path | None,
    output: Output,
) -> None:
    """Book room for an event (platform team).

    The room is held from now on. Each seat has a code, which is shown only now: give each person one. A seat
    is an environment of that person, named EVENT-01, EVENT-02 and so on, until the end of the event.
    """
    with api_session(ctx, output) as api:
        body = {
            "event": event,
            "template": template,
            "seats": seats,
            "from": parse_local_time(starts).isoformat(),
            "until": parse_local_time(ends).isoformat(),
        }
        _print_codes(api.call("POST", "bookings", body=body), codes_file, output)


@click.command(
    epilog=examples(
        "moorage bookings",
        "moorage bookings k8s-101",
        "moorage bookings k8s-101 --new-codes",
        "moorage bookings k8s-101 --end",
    )
)
@click.argument("event", required=False, shell_complete=complete_booking)
@click.option("--end", is_flag=True, help="End the event now, with all its environments.")
@click.option("--new-codes", is_flag=True, help="Replace the codes of the seats that are free.")
@_codes_file_option
@yes_option
@output_option()
@click.pass_context
def bookings(
    ctx: click.Context,
    event: str | None,
    end: bool,
    new_codes: bool,
    codes_file: Path | None,
    yes: bool,
    output: Output,
) -> None:
    """Show all bookings or, with EVENT, who has come and what has ended of it (platform team)."""
    if event is None and (end or new_codes):
        raise click.UsageError("Missing argument 'EVENT': it says which booking is meant.")
    if end and new_codes:
        raise click.UsageError("--end and --new-codes exclude each other.")
    if codes_file and not new_codes:
        raise click.UsageError("--codes-file needs --new-codes.")
    with api_session(ctx, output) as api:
        if event is None:
            answer = api.call("GET", "bookings")
            if output is Output.JSON:
                print_json(answer)
            else:
                _print_list(parse(answer, BookingList).bookings)
            return
        path = f"bookings/{quote(event, safe='')}"
        if new_codes:
            _print_codes(api.call("POST", f"{path}/codes"), codes_file, output)
            return
        if end:
            question = f"End {event} now, and delete the environments of all its seats?"
            confirm(question, yes=yes, refused=f"{event} goes on: nothing was done")
        answer = api.call("DELETE" if end else "GET", path)
        if output is Output.JSON:
            print_json(answer)
        else:
            _print_booking(parse(answer, BookingView))


@click.command(epilog=examples("moorage seat", "moorage seat K7QF-9XMB-2DWT-HRVE"))
@click.argument("code", required=False)
@no_wait_option
@output_option()
@click.pass_context
def seat(ctx: click.Context, code: str | None, no_wait: bool, output: Output) -> None:
    """Take the seat of an event with the code that you were given, and wait until it is ready.

    Without CODE, the command asks for it. A code is good once, and then for you only: the command may be
    repeated.
    """
    with api_session(ctx, output) as api:
        code = ask("Code", code, "moorage seat CODE")
        done = api.call("POST", "seats", body={"code": code}, key=secrets.token_hex(16))
        if output is Output.TABLE:
            print_note(done["message"])
        if no_wait:
            if output is Output.JSON:
                print_json(done)
            return
        view = follow_until(api, done["name"], done["life"], is_ready, output)
        if output is Output.JSON:
            print_json(to_json(view))
        if view.ended or view.phase not in (Phase.READY, Phase.ASLEEP):
            raise creation_failure(view)
        if output is Output.TABLE:
            print_next_commands(view)


def _print_codes(answer: Any, file: Path | None, output: Output) -> None:
    found = parse(answer, BookingCodes)
    if file:
        _write_codes(file, found.codes)
        answer["codes"] = []
    if output is Output.JSON:
        print_json(answer)
        return
    booking = found.booking
    print_line(
        f"{booking.event}: {booking.seats} seats from {booking.template}, "
        f"{local_time(booking.starts_at)} to {local_time(booking.ends_at)}."
    )
    if file:
        print_line(f"The codes are in {file}.")
        return
    print_line()
    print_table(["seat", "code"], [[one.seat, one.code] for one in found.codes], empty="All seats are taken.")
    print_note("The codes are not shown again. People use them with:  moorage seat CODE")


def _write_codes(file: Path, codes: Sequence[SeatCode]) -> None:
    from clients.private_files import write_private

    try:
        write_private(file, "".join(f"{one.seat} {one.code}\n" for one in codes))
    except OSError as error:
        message = f"cannot write the codes to {file}: {error.strerror}"
        steps = ["make new codes with: moorage bookings EVENT --new-codes"]
        raise CliError(Code.FAILED, message, next_steps=steps) from None


def _print_list(rows: Sequence[BookingRow]) -> None:
    columns = ["event", "template", "seats", "taken", "from", "until", "", "booked by"]
    cells = [
        [
            row.event,
            row.template,
            str(row.seats),
            str(row.taken),
            local_time(row.starts_at),
            local_time(row.ends_at),
            row.remark or row.phase,
            row.owner,
        ]
        for row in rows
    ]
    print_table(columns, cells, empty="Nothing is booked.")


def _print_booking(view: BookingView) -> None:
    times = f"{local_time(view.starts_at)} to {local_time(view.ends_at)}"
    hosts = ", ".join(f"{number} on {host}" for host, number in view.hosts.items())
    by = f", ended by {view.ended_by}" if view.ended_by else ""
    print_line(f"{view.event} ({view.phase}{by}): {view.taken} of {view.seats} seats taken.")
    print_line(f"{times}, from {view.template}, booked by {view.owner}; {hosts}.")
    if view.remark:
        print_line(view.remark)
    print_line()
    people = [[one.name, one.person, local_time(one.taken_at)] for one in view.people]
    print_table(["seat", "person", "since"], people, empty="")
    if view.left:
        print_line()
        print_table(["not gone yet", "why"], [[one.name, one.why] for one in view.left], empty="")
    if view.phase == "ended":
        print_line()
        ended = local_time(view.ended_at)
        verdict = "nothing left" if view.nothing_left else "not all of it is certified as gone"
        print_line(f"Certificate, {ended}: {verdict}")
        for place in view.ended:
            systems = place.certificate.systems if place.certificate else ()
            left = ", ".join(text for system in systems for text in system.left)
            print_line(f"  {place.name:<24} {left or place.remark or 'nothing left'}")
