"""A plain HTML page for a frame of the report."""

from html import escape

STYLE = """
body { font: 14px/1.5 system-ui, sans-serif; margin: 1.5rem; color: #222; }
h1 { font-size: 1.3rem; }
p { max-width: 60rem; }
table { border-collapse: collapse; font-size: 13px; white-space: nowrap; }
th, td { padding: .25rem .7rem; text-align: left; border-bottom: 1px solid #ddd; font-variant-numeric: tabular-nums; }
th { position: sticky; top: 0; background: #f4f4f4; }
"""


def page(title: str, body: str, head: str = "") -> str:
    """Return an HTML page without anything from outside, with more elements in its head."""
    head = f'<meta charset="utf-8">\n<title>{escape(title)}</title>\n<style>{STYLE}</style>{head}'
    main = f"<h1>{escape(title)}</h1>\n{body}"
    return f"<!DOCTYPE html>\n<html>\n<head>\n{head}\n</head>\n<body>\n{main}\n</body>\n</html>\n"
