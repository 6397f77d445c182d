"""docs/your-core.md builds full_copy.py: its Python blocks together are the file."""

from __future__ import annotations

import re
import unittest
from pathlib import Path

PYTHON = Path(__file__).parent.parent
PAGE = PYTHON.parent.parent / "docs/your-core.md"


def assembled() -> str:
    """The blocks in the order in which the page says to put them: the last lines stay the last."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    first, last, *steps = (str(block) for block in blocks)
    return "\n\n".join(block.rstrip("\n") for block in [first, *steps]) + "\n\n\n" + last


class PageTest(unittest.TestCase):
    def test_the_blocks_of_the_page_are_the_core(self) -> None:
        self.assertEqual((PYTHON / "full_copy.py").read_text(), assembled())

    def test_the_core_is_short(self) -> None:
        self.assertLess(len((PYTHON / "full_copy.py").read_text().splitlines()), 200)


if __name__ == "__main__":
    unittest.main()
