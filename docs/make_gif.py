"""The moving picture of README: a real launch on a terminal, of which a worker is killed on the way.

Four workers train README's first script (a few epochs more, so that there is time to look); once the bar moves, one of them gets SIGKILL,
by the pid that `disttrain status --json` says. Then the digest of the run, and that of the same script in one process with as many virtual
workers, are printed by `disttrain digest`. What is seen is what the commands wrote; of a wait only its first and its last moment are kept.

    python docs/make_gif.py [--output docs/images/kill.gif] [--font FILE.ttf]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from terminal import Terminal  # noqa: E402  # the pseudo-terminal of the tests

COLUMNS, ROWS, SIZE = 100, 24, 13
MONO = ("DejaVuSansMono.ttf", "LiberationMono-Regular.ttf", "Menlo.ttc", "Courier New.ttf")
PAPER, INK, TYPED, STRUCK = (17, 20, 24), (214, 220, 226), (126, 211, 152), (240, 128, 112)
INKS = ((INK, 2), (TYPED, 1), (STRUCK, 1))  # and how many shades of each
LONGEST_S, SHORTEST_S, LAST_S = 0.5, 0.1, 6.0
WORKERS, EPOCHS, KILLED = 4, 8, "w2"


@dataclass
class Film:
    """What was seen when."""

    shots: list[tuple[float, list[str]]]

    def add(self, lines: list[str]) -> None:
        if not self.shots or self.shots[-1][1] != lines:
            self.shots.append((time.monotonic(), lines))


def script_of_readme() -> str:
    """Its first script, with more epochs, and without what makes its lines long."""
    (code,) = re.findall(r"^```python\n(# train\.py\n.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return re.sub(r"    (callbacks|validation_split)=.*\n", "", code.replace("epochs=3", f"epochs={EPOCHS}"))


class Filmed(Terminal):
    """A terminal of which each state is filmed, below what stood there before."""

    film: Film
    before: list[str]
    struck = ""

    def _read(self) -> bool:
        more = super()._read()
        self.film.add([*self.before, *self.lines(), *([self.struck] if self.struck else [])])
        return more

    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.glass.lines]


def record(folder: Path) -> Film:
    """Train, kill, compare."""
    (folder / "train.py").write_text(script_of_readme())
    variables = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    variables |= {"NO_COLOR": "1", "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}", "OMP_NUM_THREADS": "1"}
    film, before = Film([]), [f"$ disttrain launch train.py --workers {WORKERS}"]
    film.add(before)
    command = [sys.executable, "-m", "disttrain", "launch", "train.py", "--workers", str(WORKERS)]
    with Filmed(command, folder, variables, columns=COLUMNS) as terminal:
        terminal.film, terminal.before = film, before
        terminal.until(lambda seen: "Epoch 3/" in seen.text)
        pid = worker(folder, variables)
        terminal.struck = f"another terminal $ kill -9 {pid}    # {KILLED}"
        os.kill(pid, signal.SIGKILL)
        if terminal.wait() != 0 or f"worker {KILLED} lost" not in terminal.text.replace("\n", ""):
            raise SystemExit(f"the launch did not lose a worker and end well:\n{terminal.text}")
        shown = [*before, *filter(None, terminal.lines())]
    shown = compared(folder, variables, film, shown)
    film.add([*shown, "# one worker killed, one process undisturbed: the same bits"])
    return film


def compared(folder: Path, variables: dict[str, str], film: Film, shown: list[str]) -> list[str]:
    """The digest of the run, and of the same in one process."""
    one = f"import disttrain as dt; dt.set_virtual_workers({WORKERS})\n" + script_of_readme() + '\nmodel.save("alone.keras")\n'
    (folder / "alone.py").write_text(one)
    subprocess.run([sys.executable, "alone.py"], cwd=folder, env=variables, check=True, stdout=subprocess.DEVNULL)
    digests = set()
    for words in ("runs/train", f"alone.keras    # python train.py, V = {WORKERS}"):
        shown = [*shown, f"$ disttrain digest {words}"]
        film.add(shown)
        command = [sys.executable, "-m", "disttrain", "digest", words.split()[0]]
        digest = subprocess.run(command, cwd=folder, env=variables, check=True, capture_output=True, text=True).stdout.strip()
        digests.add(digest)
        shown = [*shown, digest]
        film.add(shown)
    if len(digests) != 1:
        raise SystemExit(f"the digests differ: {digests}")
    return shown


def worker(folder: Path, variables: dict[str, str]) -> int:
    """The pid of the one that is to die."""
    command = [sys.executable, "-m", "disttrain", "status", "runs/train", "--json"]
    while True:
        status = json.loads(subprocess.run(command, cwd=folder, env=variables, check=True, capture_output=True, text=True).stdout)
        for one in status.get("workers", []):
            if one["worker"] == KILLED:
                return int(one["pid"])
        time.sleep(0.1)


def frames(film: Film) -> Iterator[tuple[list[str], float]]:
    """(the last rows, seconds) of each picture; what changes faster than people see is left out."""
    kept = film.shots[:1]
    told = [said(lines) for _, lines in film.shots]
    turning = [told[at - 1 : at + 2] == [told[at]] * 3 for at in range(len(told))]  # between two that say the same
    for shot in [shot for shot, turns in zip(film.shots, turning, strict=True) if not turns][1:]:
        if shot[0] - kept[-1][0] >= SHORTEST_S or any(line not in kept[-1][1] for line in shot[1][:-1]):
            kept.append(shot)
    if kept[-1] is not film.shots[-1]:
        kept.append(film.shots[-1])
    for (at, lines), (following, _) in zip(kept, [*kept[1:], (kept[-1][0] + LAST_S, [])], strict=True):
        last = lines is kept[-1][1]
        typed = lines[-1].startswith("another terminal")
        yield lines[-ROWS:], LAST_S if last else max(SHORTEST_S, min(LONGEST_S * (3 if typed else 1), following - at))


def said(lines: list[str]) -> list[str]:
    """The lines without what turns in place while something is awaited, and without the seconds that it has taken."""
    return [re.sub(r"  \d+ s$", "", line[1:]) if re.match(r"[|/\\-] ", line) else line for line in lines]


def draw(lines: list[str], font: ImageFont.FreeTypeFont) -> Image.Image:
    """One picture."""
    width, height = round(font.getlength("m")), SIZE + 5
    picture = Image.new("RGB", (width * COLUMNS + 24, height * ROWS + 24), PAPER)
    pen = ImageDraw.Draw(picture)
    for row, line in enumerate(lines):
        colour = TYPED if line.startswith(("$", "#")) else STRUCK if line.startswith("another terminal") else INK
        pen.text((12, 12 + row * height), line[:COLUMNS], font=font, fill=colour)
    return picture


def save(pictures: list[Image.Image], durations: list[int], path: Path) -> None:
    """As a GIF of few colours: with more shades at the letters' edges it is twice as large."""
    colours = Image.new("P", (1, 1))
    mixed = [
        tuple(round(PAPER[i] + (ink[i] - PAPER[i]) * part / shades) for i in range(3))
        for ink, shades in INKS
        for part in range(1, shades + 1)
    ]
    colours.putpalette([value for shade in [PAPER, *mixed] for value in shade])
    few = [picture.quantize(palette=colours, dither=Image.Dither.NONE) for picture in pictures]
    few[0].save(path, save_all=True, append_images=few[1:], duration=durations, loop=0, optimize=True)


def font_of(path: str | None) -> ImageFont.FreeTypeFont:
    for name in (path,) if path else MONO:
        try:
            return ImageFont.truetype(name, SIZE)
        except OSError:
            continue
    raise SystemExit(f"no font of one width was found ({', '.join(MONO)}): name one with --font FILE.ttf")


def main() -> None:
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("--output", type=Path, default=ROOT / "docs" / "images" / "kill.gif")
    made.add_argument("--font")
    options = made.parse_args()
    font = font_of(options.font)
    with tempfile.TemporaryDirectory() as folder:
        film = record(Path(folder))
    shown = list(frames(film))
    save([draw(lines, font) for lines, _ in shown], durations := [round(seconds * 1000) for _, seconds in shown], options.output)
    print(f"{options.output}: {len(durations)} pictures, {sum(durations) / 1000:.0f} s, {options.output.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
