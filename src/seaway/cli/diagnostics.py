"""`seaway config show` and `seaway doctor`."""

from __future__ import annotations

from seaway import settings
from seaway.cli import output
from seaway.cli.options import COMMON, Common


def config_show(*, common: Common = COMMON) -> int:
    """Every setting, its value, and where the value came from."""
    configuration = common.configuration()
    rows = []
    for name in settings.Settings.__struct_fields__:
        value = getattr(configuration.settings, name)
        secret = name in settings.SECRET_KEYS and value is not None
        rows.append((name, "(secret)" if secret else value, configuration.origins[name]))
    if common.json:
        output.print_json(
            {"home": str(configuration.home), "settings": {n: {"value": v, "origin": o} for n, v, o in rows}}
        )
        return 0
    output.say(f"home  {output.plain(configuration.home)}")
    output.table(
        None, ("setting", "value", "origin"), [(n, "-" if v is None else str(v), o) for n, v, o in rows]
    )
    return 0


def doctor(*, common: Common = COMMON) -> int:
    """Look at the machine and the home; exits 1 where something is broken."""
    from seaway.wiring import examination

    findings = examination.examine(common.configuration())
    if common.json:
        output.print_json(findings)
    else:
        marks = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "broken": "[red]broken[/]"}
        for finding in findings:
            output.say(
                f"{marks[finding.state]:<20} {output.plain(finding.subject)}: {output.plain(finding.text)}"
            )
            if finding.fix:
                word = "next" if finding.state == "ok" else "fix"
                output.say(f"           {word}: {output.plain(finding.fix)}")
    return 1 if any(finding.state == "broken" for finding in findings) else 0
