"""`busgate certs`: the certificates of an edge, what it serves of them, and when they end."""

import argparse
import json
import time
from collections.abc import Sequence

from busgate.ops.certificates import DAY, CertsProcess, Found, address_of, look
from busgate.ops.faults import CommandError
from busgate.ops.loading import read_settings
from busgate.ops.screen import DIM, GREEN, RED, YELLOW, fit, paint, table

STANDS_OUT = 1
"""Exit code where one ends soon, cannot be used, or is not what is served."""

_SHOWN = {
    "same": "the same",
    "differs": "another",
    "unanswered": "?",
    "shadowed": "never: its names are those of an earlier one",
    "": "",
}
_NAMES = 3


def run(options: argparse.Namespace) -> int:
    edge = read_settings(CertsProcess, options).edge
    if edge.tls is None:
        raise CommandError(["edge.tls: there is none: this edge speaks no TLS"])
    if not edge.tls.certificates:
        raise CommandError(["edge.tls.certificates: there is none: add [[edge.tls.certificates]]"])
    found, trouble = look(edge)
    now = time.time()
    notes = [note for each in found for note in each.troubles(now, within=options.within)]
    if options.json:
        document = {
            "edge": address_of(edge),
            "unanswered": trouble,
            "certificates": [_document(each, now) for each in found],
            "stands_out": notes,
        }
        print(json.dumps(document, indent=2))
    else:
        _print(found, notes, trouble, now)
    return STANDS_OUT if notes else 0


def _print(found: Sequence[Found], notes: Sequence[str], trouble: str | None, now: float) -> None:
    head = ["FILE", "FOR", "ISSUER", "ENDS", "DAYS", "SERVED"]
    rows = [
        [
            str(each.file),
            _for(each),
            each.issuer,
            "?" if each.ends is None else time.strftime("%Y-%m-%d %H:%M", time.gmtime(each.ends)),
            "" if each.ends is None else str(int((each.ends - now) // DAY)),
            _SHOWN[each.state],
        ]
        for each in found
    ]
    first, *rest = table(head, rows)
    print(paint(first, DIM))
    for line, each in zip(rest, found, strict=True):
        bad = each.fault is not None or each.state == "differs"
        soon = any(str(each.file) in note for note in notes)
        print(paint(line, RED if bad else YELLOW if soon else GREEN))
    for note in notes:
        print(paint(fit(f"! {note}"), RED))
    if trouble:
        print(paint(fit(trouble), DIM))


def _for(found: Found) -> str:
    if found.kind != "server":
        return {"client-ca": "clients", "client-crl": "revoked clients"}[found.kind]
    more = len(found.names) - _NAMES
    return ", ".join(found.names[:_NAMES]) + (f" and {more} more" if more > 0 else "")


def _document(found: Found, now: float) -> dict[str, object]:
    return {
        "kind": found.kind,
        "file": str(found.file),
        "names": list(found.names),
        "issuer": found.issuer,
        "ends": None if found.ends is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(found.ends)),
        "days_left": None if found.ends is None else round((found.ends - now) / DAY, 1),
        "fingerprint": found.fingerprint,
        "fault": found.fault,
        "state": found.state,
        "served": found.served,
    }
