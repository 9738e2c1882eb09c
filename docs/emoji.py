"""Draws Debian's color emoji into a folder, one sub-folder for each of nine groups.

    sudo apt install fonts-noto-color-emoji unicode-data
    python docs/emoji.py emoji              # smileys people animals food travel activities ...
    python docs/emoji.py emoji food flags   # of these groups only

The font is under the SIL Open Font License. The pictures are 136 x 128, on white. Emoji of people
come in up to five skin tones.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, features

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
LIST = Path("/usr/share/unicode/emoji/emoji-test.txt")
SIDES, LETTER = (136, 128), 109  # pixels; the only size of this font


def emoji(text: str) -> Iterator[tuple[str, str]]:
    """Yields the group and the characters of each emoji in Unicode's list."""
    group = ""
    for line in text.splitlines():
        if found := re.match(r"# group: (\w+)", line):
            group = found[1].lower()
        elif found := re.match(r"([0-9A-F ]+?)\s*; fully-qualified", line):
            yield group, "".join(chr(int(code, 16)) for code in found[1].split())


def draw(characters: str, font: ImageFont.FreeTypeFont) -> Image.Image:
    """Draws one emoji on white."""
    picture = Image.new("RGB", SIDES, "white")
    ImageDraw.Draw(picture).text((0, 0), characters, font=font, embedded_color=True)
    return picture


def main(folder: Path, *groups: str) -> None:
    if folder.exists():
        sys.exit(f"{folder} exists: remove it, or name another folder")
    if missing := [path for path in (FONT, LIST) if not path.is_file()]:
        sys.exit(f"{missing[0]} is missing: sudo apt install fonts-noto-color-emoji unicode-data")
    if not features.check("raqm"):
        sys.exit("this Pillow has no Raqm, which joins the parts of an emoji: pip install pillow")
    found = [*emoji(LIST.read_text())]
    names = [*dict.fromkeys(group for group, _ in found)]
    if wrong := {*groups}.difference(names):
        sys.exit(f"there is no group {', '.join(wrong)}: one of {', '.join(names)}")
    font = ImageFont.truetype(str(FONT), LETTER, layout_engine=ImageFont.Layout.RAQM)
    for group, characters in found:
        if not groups or group in groups:
            (folder / group).mkdir(parents=True, exist_ok=True)
            name = "-".join(f"{ord(character):x}" for character in characters)
            draw(characters, font).save(folder / group / f"{name}.png")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), *sys.argv[2:])
