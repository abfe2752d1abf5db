"""Renders chat templates with jinja2, set up as transformers' apply_chat_template sets it up. Needs Debian's python3-jinja2."""

import datetime
import json

import jinja2
import jinja2.ext
import jinja2.sandbox

NOW = datetime.datetime(2024, 7, 26, 10, 5, 0)


class Generation(jinja2.ext.Extension):
    """{% generation %} marks the assistant's part; it prints its content."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_content"), [], [], body).set_lineno(line)

    def _content(self, caller):
        return caller()


class Refused(Exception):
    pass


def raise_exception(message):
    raise Refused(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = NOW.strftime
    return env


def render(template, case):
    """{"text": ...}, or {"refused": message} after raise_exception, or {"error": message}."""
    variables = {"tools": None, "documents": None}
    variables.update(case.get("special_tokens", {}))
    variables.update(case.get("variables", {}))
    variables["messages"] = case.get("messages", [])
    variables["add_generation_prompt"] = case.get("add_generation_prompt", True)
    try:
        return {"text": environment().from_string(template).render(variables)}
    except Refused as error:
        return {"refused": str(error)}
    except Exception as error:  # whatever the template does wrong
        return {"error": f"{type(error).__name__}: {error}"}
