"""Boxes, lines and words as an SVG text or a PNG image."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from html import escape

CHARACTER = 7.3  # width of a character of a 12 px monospaced font, in px
LINE = 18.0  # height of a line of it
_FONT = 12


@dataclass(frozen=True)
class Box:
    """A rectangle with lines of words, the first of them on a dark ground where `titled`; dashed around other boxes."""

    x: float
    y: float
    width: float
    height: float
    lines: tuple[str, ...] = ()
    titled: bool = True
    dashed: bool = False


@dataclass
class Drawing:
    """What is drawn, in px. In a notebook it shows itself."""

    width: float
    height: float
    boxes: list[Box] = field(default_factory=list)
    arrows: list[list[tuple[float, float]]] = field(default_factory=list)

    def svg(self) -> str:
        """The drawing as an SVG document."""
        width, height = _number(self.width), _number(self.height)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
            f' font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="{_FONT}">',
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
            '<path d="M0 0 L8 4 L0 8 z" fill="#333"/></marker></defs>',
            f'<rect width="{width}" height="{height}" fill="white"/>',
        ]
        for box in sorted(self.boxes, key=lambda box: not box.dashed):
            parts += _box_svg(box)
        for points in self.arrows:
            path = " ".join(f"{'L' if place else 'M'}{_number(x)} {_number(y)}" for place, (x, y) in enumerate(points))
            parts.append(f'<path d="{path}" fill="none" stroke="#333" marker-end="url(#tip)"/>')
        return "\n".join([*parts, "</svg>"]) + "\n"

    def png(self, dpi: int = 200) -> bytes:
        """The drawing as a PNG image, with 96 px of the drawing to an inch.

        Raises:
            ImportError: Pillow is not installed.
        """
        try:
            from PIL import Image, ImageDraw, ImageFont
        except ImportError as error:
            raise ImportError(
                "a PNG is drawn by Pillow, which is not installed.\n  try  pip install pillow, or a path ending in .svg"
            ) from error
        scale = dpi / 96
        image = Image.new("RGB", (max(1, round(self.width * scale)), max(1, round(self.height * scale))), "white")
        draw = ImageDraw.Draw(image)
        font = ImageFont.load_default(_FONT * scale)
        for box in sorted(self.boxes, key=lambda box: not box.dashed):
            left, top = box.x * scale, box.y * scale
            right, bottom = left + box.width * scale, top + box.height * scale
            draw.rectangle((left, top, right, bottom), outline="#999" if box.dashed else "#333", fill=None if box.dashed else "white")
            for number, line in enumerate(box.lines):
                row = top + number * LINE * scale
                dark = number == 0 and box.titled
                if dark:
                    draw.rectangle((left, row, right, row + LINE * scale), fill="#333")
                middle = ((left + right) / 2, row + LINE * scale / 2)
                draw.text(middle, line, fill="white" if dark else "#111", font=font, anchor="mm")
        for points in self.arrows:
            scaled = [(x * scale, y * scale) for x, y in points]
            draw.line(scaled, fill="#333", width=max(1, round(scale)))
            draw.polygon(_tip(scaled[-2], scaled[-1], 7 * scale), fill="#333")
        buffer = io.BytesIO()
        image.save(buffer, "PNG", dpi=(dpi, dpi))
        return buffer.getvalue()

    def _repr_svg_(self) -> str:
        return self.svg()


def _box_svg(box: Box) -> list[str]:
    x, y, width, height = (_number(value) for value in (box.x, box.y, box.width, box.height))
    style = 'fill="none" stroke="#999" stroke-dasharray="4 3"' if box.dashed else 'fill="white" stroke="#333"'
    parts = [f'<rect x="{x}" y="{y}" width="{width}" height="{height}" {style}/>']
    for number, line in enumerate(box.lines):
        top = box.y + number * LINE
        dark = number == 0 and box.titled
        if dark:
            parts.append(f'<rect x="{x}" y="{_number(top)}" width="{width}" height="{_number(LINE)}" fill="#333"/>')
        colour = "white" if dark else "#111"
        middle = _number(box.x + box.width / 2)
        parts.append(f'<text x="{middle}" y="{_number(top + LINE * 0.72)}" fill="{colour}" text-anchor="middle">{escape(line)}</text>')
    return parts


def _tip(start: tuple[float, float], end: tuple[float, float], size: float) -> list[tuple[float, float]]:
    along = (end[0] - start[0], end[1] - start[1])
    length = (along[0] ** 2 + along[1] ** 2) ** 0.5 or 1.0
    ux, uy = along[0] / length * size, along[1] / length * size
    return [end, (end[0] - ux - uy / 2, end[1] - uy + ux / 2), (end[0] - ux + uy / 2, end[1] - uy - ux / 2)]


def _number(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")
