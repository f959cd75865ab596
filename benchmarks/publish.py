"""asv's pages of all stored results, which open without a network: `python -m benchmarks.publish`, then `asv preview`.

asv's page loads the libraries that draw its charts from other people's servers. This runs `asv publish`, puts the same
libraries (charts/, see LICENSES there) beside the page and has it load them from there. Arguments go to `asv publish`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

CHARTS = Path(__file__).resolve().parent / "charts"
# What asv's page asks for -> the file that it gets. Another version of asv may ask for others; it is refused then.
FILES = {
    "https://code.jquery.com/jquery-3.3.1.min.js": "jquery-3.3.1.min.js",
    "https://cdnjs.cloudflare.com/ajax/libs/flot/0.8.3/jquery.flot.min.js": "jquery.flot.js",
    "https://cdnjs.cloudflare.com/ajax/libs/flot/0.8.3/jquery.flot.time.min.js": "jquery.flot.time.js",
    "https://cdnjs.cloudflare.com/ajax/libs/flot/0.8.3/jquery.flot.selection.min.js": "jquery.flot.selection.js",
    "https://cdnjs.cloudflare.com/ajax/libs/flot/0.8.3/jquery.flot.categories.min.js": "jquery.flot.categories.js",
    "https://cdn.jsdelivr.net/npm/flot-orderbars@1.0.0/js/jquery.flot.orderBars.js": "jquery.flot.orderBars.js",
    "https://cdnjs.cloudflare.com/ajax/libs/stupidtable/1.0.1/stupidtable.min.js": "stupidtable.min.js",
    "https://cdnjs.cloudflare.com/ajax/libs/blueimp-md5/2.19.0/js/md5.min.js": "md5.min.js",
    "https://cdn.jsdelivr.net/npm/bootstrap@3.1.1/dist/js/bootstrap.min.js": "bootstrap.min.js",
    "https://cdn.jsdelivr.net/npm/bootstrap@3.1.1/dist/css/bootstrap.min.css": "bootstrap.min.css",
}
FOLDER = "charts"  # beside the page

# Elements that a browser loads at once; links to click on may lead anywhere.
_LOADED = re.compile(r"<(?:script|link)\b[^>]*?\b(?:src|href)=\"(https?:[^\"]*)\"[^>]*>")
# Only for other people's servers: a file beside the page has no digest to be compared with and no origin to be told.
_FOR_SERVERS = re.compile(r"\s(?:integrity|crossorigin|referrerpolicy)=\"[^\"]*\"")


class UnknownLibrary(Exception):
    """The page asks for something that is not in FILES."""


def localised(page: str) -> str:
    """The text of asv's index.html, with each library that it loads from the network taken from FOLDER."""
    unknown = sorted(set(_LOADED.findall(page)) - FILES.keys())
    if unknown:
        raise UnknownLibrary(
            f"this version of asv loads {', '.join(unknown)}: put the files into {CHARTS} and name them in "
            "benchmarks/publish.py, or install the version of asv that pyproject.toml names"
        )
    return _LOADED.sub(
        lambda found: _FOR_SERVERS.sub("", found[0]).replace(found[1], f"{FOLDER}/{FILES[found[1]]}"), page
    )


def localise(folder: Path) -> None:
    """Change published pages in place."""
    index = folder / "index.html"
    index.write_text(localised(index.read_text()))
    (folder / FOLDER).mkdir(exist_ok=True)
    for name in (*FILES.values(), "LICENSES"):
        shutil.copyfile(CHARTS / name, folder / FOLDER / name)


def published_to(arguments: Sequence[str]) -> Path:
    """Where `asv publish` with these arguments puts the pages, if it runs in the current directory."""
    from asv.config import Config

    for before, after in pairwise(arguments):
        if before in ("-o", "--html-dir"):
            return Path(after)
    return Path(Config.load("asv.conf.json").html_dir)


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    done = subprocess.run([sys.executable, "-m", "asv", "publish", *arguments])
    if done.returncode or {"-h", "--help"} & set(arguments):
        return done.returncode
    folder = published_to(arguments)
    try:
        localise(folder)
    except UnknownLibrary as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{folder / 'index.html'}: needs no network; a browser opens it through `asv preview`")
    return 0


if __name__ == "__main__":
    sys.exit(main())
