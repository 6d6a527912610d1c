"""Names what a tree of packages carries besides the gateway, and each one's licence: ``licences.py TREE``."""

import sys
from importlib.metadata import distributions
from pathlib import Path


def main(tree: Path) -> None:
    """Write one line a package: its name, version and licence, out of its metadata."""
    (packages,) = tree.glob("lib/python3*/site-packages")
    for package in sorted(distributions(path=[str(packages)]), key=lambda package: package.name.lower()):
        data = package.metadata
        classifiers = [text.rsplit(" :: ", 1)[1] for text in data.get_all("Classifier", []) if text[:7] == "License"]
        licence = data.get("License-Expression") or ", ".join(classifiers) or (data.get("License") or "").split("\n")[0]
        if package.name != "smartgate":
            print(f" {package.name} {package.version}: {licence or 'see its METADATA'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
