"""Writes a page: one file of HTML that fetches nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from supcon.parsing import UserError

HERE = Path(__file__).parent
SCRIPTS = ("page.js", "lists.js", "map.js", "steering.js", "unknown.js", "start.js")


def render(template: str, **values: Any) -> str:
    """A template of this folder with values, all of which are text and never markup."""
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(style=Markup(_read("page.css")), **values)


def explored(shown: dict[str, Any], **values: Any) -> str:
    """explore.html.

    Args:
        shown: what `supcon.explore.contents.contents` made.
        values: what the template says around it.
    """
    script = "\n".join(map(_read, SCRIPTS))
    code = f'"use strict";\n(() => {{\n{script}\n}})();'
    # No tag can end inside of a script, and none can begin a comment.
    data = json.dumps(shown, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return render(
        "explore.html.j2",
        shown=shown,
        code=Markup(code),
        fingerprint=Markup(_fingerprint(code)),
        data=Markup(data),
        **values,
    )


def write_page(path: Path, html: str) -> None:
    """Write it; a page that is there is replaced.

    Raises:
        UserError: it cannot be written.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        # A name that is no UTF-8 is shown with the numbers of its bytes.
        partial.write_text(html, encoding="utf-8", errors="backslashreplace")
        os.replace(partial, path)
    except OSError as error:
        raise UserError(f"--out {path}: cannot be written ({error.strerror})") from None


def _fingerprint(code: str) -> str:
    """What the page's policy knows its only script by: one that came in with data would not run."""
    return f"sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}"


def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
