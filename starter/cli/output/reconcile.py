"""Prints the results of reconcile sweeps."""

from starter.cli.output.formatting import print_note
from starter.cli.terminal.text import local_time, print_line
from starter.cli.views.sweeps import ReconcileView


def print_reconcile(view: ReconcileView) -> None:
    """Print what a reconcile sweep found and did."""
    result = view.result
    print_line(view.message + (f" ({local_time(result.now)})" if result else ""))
    if result is None:
        return
    for system in result.skipped:
        print_line(f"  skipped: {system}")
    if result.frozen:
        print_line(f"  nothing is undone: all ends are frozen: {result.frozen}")
    done = {line.life: line for line in result.lines}
    for one in result.orphans:
        if one.life in done:
            what = done[one.life].result
        elif one.verdict == "look":
            what = "left alone; a person has to look"
        elif one.life in result.waiting:
            what = f"waits for a person, to {one.verdict}"
        elif one.life in result.due:
            what = one.verdict
        else:
            what = f"seen since {local_time(one.first_seen)}; {one.verdict} later"
        whose = f" of {one.owner}" if one.owner else ""
        print_line(f"  {one.name:<30}  life {one.life}{whose}")
        print_line(f"    {what}: {one.reason}")
        print_line(f"    {', '.join(one.found)}")
    for drifted in result.drifted:
        if not drifted.found:
            continue
        print_line(f"  {drifted.name:<30}  life {drifted.life}")
        for each in drifted.found:
            if not (each.repairs if each.members else each.step in drifted.repair):
                what = "reported"
            elif drifted.life in result.waiting:
                what = "waits for a person, to repair"
            else:
                what = "repair"
            print_line(f"    {what}: {each.what}")
        if line := done.get(drifted.life):
            print_line(f"    {line.result}")
    if result.more:
        print_line(f"  and {result.more} more, for the next sweep")
    if result.waiting:
        print_note("If that is right:  moorage reconcile --confirm")
