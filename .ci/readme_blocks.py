"""Prints every shell block of a Markdown file, in order, as one script."""

import re
import sys

text = open(sys.argv[1], encoding="utf-8").read()
blocks = re.findall(r"^```sh\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
if not blocks:
    sys.exit("no command block found")
for block in blocks:
    print(block)
