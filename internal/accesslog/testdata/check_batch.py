"""Reads a batch in the field's envelope from standard input with Python's own
base64, zlib and json, and writes what a receiver would make of it: a line for each
record. Exits with 1 if anything is not as the format has it."""
import base64
import json
import sys
import zlib

NAMES = {
    "sessionId": str, "resourceId": int, "sourceAddr": str, "destAddr": str, "protocol": str,
    "startedAt": str, "endedAt": str, "bytesTx": int, "bytesRx": int,
}

envelope = json.load(sys.stdin)
if envelope["type"] != "newt/access-log":
    sys.exit("type is " + envelope["type"])
packed = base64.b64decode(envelope["data"]["compressed"], validate=True)
if packed[:2] != b"\x78\xda":
    sys.exit("not zlib at level 9: begins with " + packed[:2].hex())
records = json.loads(zlib.decompress(packed))
if not isinstance(records, list):
    sys.exit("not an array")
for r in records:
    extra = set(r) - set(NAMES) - {"connectionCount"}
    if extra:
        sys.exit("members that the field does not know: " + ", ".join(sorted(extra)))
    for name, kind in NAMES.items():
        if type(r[name]) is not kind:
            sys.exit("%s is %r" % (name, r[name]))
    print(r["sessionId"], r["sourceAddr"], r["protocol"], r["startedAt"], r["endedAt"], r["bytesTx"], r["bytesRx"])
