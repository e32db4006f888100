"""A self-contained HTML page of tables and figures: no script, nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from SyntheticContrastLib.analysis.figures import FORMATS
from SyntheticContrastLib.ct.atomic import atomic_file
from SyntheticContrastLib.ct.disclaimer import DISCLAIMER

STYLE = """
body { font: 14px/1.45 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; color: #222; max-width: 1150px;
  margin: 0 auto; padding: 0 18px 40px; }
header { position: sticky; top: 0; background: #b03000; color: white; font-weight: 600; padding: 6px 18px;
  margin: 0 -18px 18px; text-align: center; }
h1 { font-size: 24px; } h2 { font-size: 19px; border-bottom: 1px solid #ccc; margin-top: 34px; } h3 { font-size: 15px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 10px 0 2px; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: 4px 0; }
th, td { padding: 3px 10px; text-align: right; white-space: nowrap; border-bottom: 1px solid #e3e3e3; }
th { border-bottom: 1.5px solid #555; border-top: 1.5px solid #555; }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left; }
tr.group td { border-top: 1.2px solid #999; }
.convention { color: #555; font-size: 12px; max-width: 1000px; margin: 2px 0 16px; }
figure { margin: 14px 0; } figure img { display: block; max-width: 100%; height: auto; }
figcaption { color: #444; font-size: 12.5px; }
@media print { header { position: static; } figure, tr { break-inside: avoid; } }
"""


class Page:
    """Blocks in the order in which they are added; all text is escaped."""

    def __init__(self, title: str, folder: Path) -> None:
        """folder: where the page will lie; figures lie below it."""
        self.title = title
        self.folder = folder
        self._blocks: list[str] = []

    def heading(self, text: str, level: int = 2) -> None:
        self._blocks.append(f"<h{level}>{escape(text)}</h{level}>")

    def paragraph(self, text: str) -> None:
        self._blocks.append(f"<p>{escape(text)}</p>")

    def items(self, lines: Sequence[str]) -> None:
        self._blocks.append("<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>")

    def table(self, caption: str, header: Sequence[str], rows: Sequence[Sequence[str]], convention: str) -> None:
        """A row whose first cell differs from that of the row before begins a group; an equal one is not repeated."""
        lines, before = [], None
        for row in rows:
            begins = row[0] != before
            cells = [row[0] if begins else "", *row[1:]]
            style = ' class="group"' if begins and before is not None else ""
            lines.append(f"<tr{style}>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
            before = row[0]
        head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
        self._blocks.append(
            f'<div class="scroll"><table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>'
            f'<tbody>{"".join(lines)}</tbody></table></div><p class="convention">{escape(convention)}</p>'
        )

    def figure(self, stem: Path, caption: str) -> None:
        """stem.png is put into the page; it links to the files beside it."""
        png = base64.b64encode(stem.with_name(f"{stem.name}.png").read_bytes()).decode()
        links = ", ".join(
            f'<a href="{escape(stem.relative_to(self.folder).as_posix())}.{suffix}">{suffix.upper()}</a>'
            for suffix in FORMATS
        )
        self._blocks.append(
            f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{png}">'
            f"<figcaption>{escape(caption)} ({links})</figcaption></figure>"
        )

    def write(self, path: Path) -> None:
        title = escape(self.title)
        text = (
            f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
            f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
            f"<header>{escape(DISCLAIMER)}</header><h1>{title}</h1>{''.join(self._blocks)}</body></html>\n"
        )
        with atomic_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
