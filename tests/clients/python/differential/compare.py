"""What may differ between two servers is made equal; the rest is compared."""

import json
import re

# Captured ids come first; these are the ids and names that nobody captured.
_HEX = re.compile(r"(?<![0-9a-zA-Z])((?:[md]|tr)-)?[0-9a-f]{32}(?![0-9a-zA-Z])")
_UUID = re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_INVENTED = re.compile(r"[a-z]+-[a-z]+-\d+")
_CLOCK = re.compile(r"(^|_)(time|timestamp|timestamp_ms)$")
_YEAR_2024_MS = 1_704_067_200_000
# Lists that are sets of labels: neither server promises their order.
_SETS = {"tags": "key", "params": "key", "metrics": "key", "aliases": "alias", "latest_versions": "version"}
# What one side says everywhere. Newer servers name the workspace, which whole replies in the tests of 3.7 do not have;
# Lodeway says who made a version.
ADDED = [("workspace", "default"), ("user_id", "anonymous")]
_WORD = re.compile(r"[\w.\-/]{2,}")
_QUOTED = re.compile(r"'([^']{1,60})'|`([^`]{1,60})`|\"([^\"]{1,60})\"")


def normal(value, seen: dict, key: str = ""):
    """The value with everything replaced that must differ between two servers; an empty message counts as none."""
    if isinstance(value, dict):
        return {k: normal(v, seen, k) for k, v in value.items() if (k, v) not in ADDED and v != {}}
    if isinstance(value, list):
        items = [normal(v, seen, key) for v in value]
        if key in _SETS:
            items.sort(key=lambda i: str(i.get(_SETS[key])) if isinstance(i, dict) else str(i))
        return items
    if isinstance(value, str):
        return _normal_text(value, seen, key)
    if isinstance(value, float) and value != value:
        return "<a bare NaN>"
    if isinstance(value, int) and not isinstance(value, bool):
        if _CLOCK.search(key) and value > _YEAR_2024_MS:
            return "<now>"
        for name, known in seen.items():
            if known is value or (isinstance(known, str) and key == "experiment_id" and known == str(value)):
                return f"<{name}>"
    return value


def _normal_text(text: str, seen: dict, key: str):
    if key == "next_page_token" or key == "page_token":
        return "<token>"
    if key == "experiment_id":
        for name, known in seen.items():
            if known == text:
                return f"<{name}>"
    for name, known in sorted(seen.items(), key=lambda kv: -len(str(kv[1]))):
        # Short captures (experiment ids) are replaced as a part of a path only.
        if isinstance(known, str) and len(known) >= 8:
            text = text.replace(known, f"<{name}>")
        elif isinstance(known, str) and known.isdigit():
            text = re.sub(rf"(?<=[/:= '\[]){known}(?=[/ ',;.\]]|$)", f"<{name}>", text)
    text = _UUID.sub("<uuid>", _HEX.sub(r"<\1hex>", text))
    if key in ("run_name", "name", "value") and _INVENTED.fullmatch(text):
        return "<invented>"
    if text.startswith("[{") or text.startswith('{"'):
        try:
            return normal(json.loads(text), seen)
        except ValueError:
            return text
    return text


def differences(call, reference, reply, seen_reference: dict, seen: dict) -> list[str]:
    """What a caller could notice: status, error code, the field an error names, content type, every JSON value."""
    if reference.status != reply.status:
        return [f"{_outcome(reference)} -> {_outcome(reply)}"]
    found = []
    if call.method != "GET" and reference.body in ("", {}) and reply.body in ("", {}):
        return []
    theirs, ours = _family(reference.kind), _family(reply.kind)
    if theirs != ours:
        found.append(f"content type {theirs} -> {ours}")
    if theirs != "json" or ours != "json":
        # Text of error pages is free; that of files and headers that guard a browser is not.
        if reference.status == reply.status == 200:
            if reference.body != reply.body:
                found.append(f"body {str(reference.body)[:80]} -> {str(reply.body)[:80]}")
            for name in ("content-disposition", "x-content-type-options"):
                if "content-disposition" in reference.headers and reference.headers.get(name) != reply.headers.get(name):
                    found.append(f"{name} {reference.headers.get(name)} -> {reply.headers.get(name)}")
        return found
    a, b = normal(reference.body, seen_reference), normal(reply.body, seen)
    if isinstance(a, dict) and "error_code" in a:
        return found + _errors(call, a, b)
    _walk("", a, b, found)
    return found


def _outcome(reply) -> str:
    code = reply.body.get("error_code") if isinstance(reply.body, dict) else None
    return f"{reply.status} {code}" if code else str(reply.status)


def _family(kind: str) -> str:
    if "json" in kind:
        return "json"
    return "text" if kind.startswith("text/html") or not kind else kind.replace(" ", "").lower()


def _errors(call, a: dict, b: dict) -> list[str]:
    if not isinstance(b, dict) or b.get("error_code") != a["error_code"]:
        code = b.get("error_code") if isinstance(b, dict) else None
        return [f"error_code {a['error_code']} -> {code}"]
    theirs, ours = str(a.get("message")), str(b.get("message"))
    if field := re.search(r"parameter '([^']+)'", theirs):
        if field[1] not in ours:
            return [f"message names {field[1]!r}: {ours}"]
        return []
    # Another first quotation counts if it echoes a word that the caller sent.
    first = _QUOTED.search(theirs)
    named = next(g for g in first.groups() if g) if first else ""
    if _WORD.fullmatch(named) and named in call.label() and named.lower() not in ours.lower():
        return [f"message names {named!r}: {ours}"]
    return []


def _walk(path: str, a, b, found: list[str]):
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(a.keys() | b.keys()):
            at = f"{path}.{key}" if path else key
            if key not in b:
                found.append(f"{at}: {_short(a[key])} -> absent")
            elif key not in a:
                found.append(f"{at}: absent -> {_short(b[key])}")
            else:
                _walk(at, a[key], b[key], found)
    elif isinstance(a, list) and isinstance(b, list):
        if len(a) != len(b):
            found.append(f"{path}: {len(a)} entries -> {len(b)} entries")
        for i, (x, y) in enumerate(zip(a, b)):
            _walk(f"{path}[{i}]", x, y, found)
    elif a != b or isinstance(a, bool) != isinstance(b, bool):
        found.append(f"{path}: {_short(a)} -> {_short(b)}")


def _short(value) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
