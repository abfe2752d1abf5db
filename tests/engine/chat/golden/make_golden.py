#!/usr/bin/env python3
"""Writes expected.json: what jinja2 makes of templates/ x conversations.json, and of snippets.json with variables.json. Needs Debian's python3-jinja2."""

import json
import pathlib

import jinja2_reference

HERE = pathlib.Path(__file__).parent
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


def main():
    conversations = json.loads((HERE / "conversations.json").read_text("utf-8"))
    families = []
    for path in sorted((HERE / "templates").glob("*.jinja")):
        with open(path, encoding="utf-8", newline="") as file:
            template = file.read()
        for conversation in conversations:
            case = {**conversation, "special_tokens": TOKENS}
            result = jinja2_reference.render(template, case)
            families.append({"template": path.name, "conversation": conversation["name"], **result})
    variables = json.loads((HERE / "variables.json").read_text("utf-8"))
    snippets = []
    for snippet in json.loads((HERE / "snippets.json").read_text("utf-8")):
        case = {"variables": variables, "special_tokens": TOKENS}
        snippets.append({**snippet, **jinja2_reference.render(snippet["template"], case)})
    text = json.dumps({"families": families, "snippets": snippets}, ensure_ascii=False, indent=1)
    (HERE / "expected.json").write_text(text + "\n", "utf-8")


main()
