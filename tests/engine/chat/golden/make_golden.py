#!/usr/bin/env python3
"""Writes expected.json: what jinja2 makes of templates/ x conversations.json, and of snippets.json with variables.json.

    make_golden.py            writes it
    make_golden.py --check    fails if it would write something else; the words of errors are jinja2's and do not count

Needs Debian's python3-jinja2.
"""

import json
import pathlib
import sys

import jinja2_reference

HERE = pathlib.Path(__file__).resolve().parent
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


def read_json(name):
    return json.loads((HERE / name).read_text("utf-8"))


def golden():
    families = []
    conversations = read_json("conversations.json")
    for path in sorted((HERE / "templates").glob("*.jinja")):
        with open(path, encoding="utf-8", newline="") as file:
            template = file.read()
        for conversation in conversations:
            result = jinja2_reference.render(template, {**conversation, "special_tokens": TOKENS})
            families.append({"template": path.name, "conversation": conversation["name"], **result})
    case = {"variables": read_json("variables.json"), "special_tokens": TOKENS}
    snippets = [{**s, **jinja2_reference.render(s["template"], case)} for s in read_json("snippets.json")]
    return {"families": families, "snippets": snippets}


def without_error_words(cases):
    return {kind: [{**case, "error": "error" in case} for case in cases[kind]] for kind in cases}


def main():
    made = golden()
    if sys.argv[1:] == ["--check"]:
        expected = without_error_words(read_json("expected.json"))
        wrong = 0
        for kind, cases in without_error_words(made).items():
            for case, kept in zip(cases, expected[kind]):
                if case != kept:
                    print("expected.json has", kept, "but jinja2 makes", case)
                    wrong += 1
            wrong += len(cases) != len(expected[kind])
        print(sum(len(cases) for cases in made.values()), "texts,", wrong, "differences")
        sys.exit(wrong > 0)
    (HERE / "expected.json").write_text(json.dumps(made, ensure_ascii=False, indent=1) + "\n", "utf-8")


main()
