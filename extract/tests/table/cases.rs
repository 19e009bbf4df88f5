//! The cases.

use gauntlet_extract::Wanted;

pub const INC: &str = "def inc(x):\n    return x + 1\n";
pub const DRAFT: &str = "def inc(x):\n    return x + 2\n";

/// `CODE` stands for the right function, `DRAFT` for a wrong one. Each text holds the right one, and that alone is wanted.
pub const ALONE: &[(&str, &str)] = &[
    ("alone", "CODE"),
    ("one block", "Here:\n```python\nCODE```\nDone."),
    ("no tag", "```\nCODE```"),
    ("py", "```py\nCODE```"),
    ("python3", "```python3\nCODE```"),
    ("Python", "```Python\nCODE```"),
    ("attributes", "```{.python title=\"inc.py\"}\nCODE```"),
    ("file name after the tag", "```python:inc.py\nCODE```"),
    ("title after the tag", "```python title=\"inc.py\"\nCODE```"),
    ("tildes", "~~~python\nCODE~~~\nDone."),
    ("four backticks", "````python\nCODE````"),
    (
        "a fence of four closed by three",
        "````python\nCODE```\n\nThis adds one.",
    ),
    ("no closing fence", "```python\nCODE"),
    (
        "no closing fence, prose",
        "```python\nCODE\nThis adds one to its argument.\n",
    ),
    ("only a closing fence", "CODE```\n"),
    ("only a closing fence, prose", "CODE```\nThis adds one."),
    (
        "a fence closed on the last line",
        "```python\ndef inc(x):\n    return x + 1```\nDone.",
    ),
    (
        "code on the line of the fence",
        "```python def inc(x):\n    return x + 1\n```",
    ),
    (
        "in a list",
        "1. The function:\n\n   ```python\n   def inc(x):\n       return x + 1\n   ```\n\n2. Done.",
    ),
    (
        "a list item is the fence",
        "- ```python\n  def inc(x):\n      return x + 1\n  ```\n",
    ),
    (
        "quoted",
        "> ```python\n> def inc(x):\n>     return x + 1\n> ```\n",
    ),
    (
        "an indented block",
        "```python\n    def inc(x):\n        return x + 1\n```",
    ),
    (
        "an indented block in prose",
        "So:\n\n    def inc(x):\n        return x + 1\n\nDone.",
    ),
    ("one line", "```python def inc(x): return x + 1```"),
    (
        "inline",
        "I wrote ```inc``` as asked:\n\n```python\nCODE```",
    ),
    (
        "draft, then final",
        "Draft:\n```python\nDRAFT```\nIt adds two. Better:\n```python\nCODE```\n",
    ),
    (
        "draft, then final, no closing fence",
        "```python\nDRAFT```\nNo:\n```python\nCODE",
    ),
    (
        "a draft that is never closed",
        "```python\nDRAFT\nHm, no.\n```python\nCODE```",
    ),
    (
        "usage",
        "```python\nCODE```\nUsage:\n```python\nprint(inc(3))\n```",
    ),
    (
        "usage that imports",
        "```python\nCODE```\nUsage:\n```python\nfrom solution import inc\nprint(inc(3))\n```",
    ),
    (
        "tests after",
        "```python\nCODE```\n```python\ndef test_inc():\n    assert inc(3) == 4\n```",
    ),
    (
        "tests before",
        "```python\ndef test_inc():\n    assert inc(3) == 4\n```\n```python\nCODE```",
    ),
    ("output after", "```python\nCODE```\nOutput:\n```\n4\n```"),
    (
        "signature before",
        "```python\ndef inc(x: int) -> int:\n    ...\n```\n```python\nCODE```",
    ),
    (
        "signature after",
        "```python\nCODE```\nIt keeps the signature\n```python\ndef inc(x):\n    pass\n```",
    ),
    (
        "signature after, with a docstring",
        "```python\nCODE```\n```python\ndef inc(x):\n    \"\"\"Adds one.\"\"\"\n    raise NotImplementedError\n```",
    ),
    (
        "signature without a body after",
        "```python\nCODE```\nIts head:\n```python\ndef inc(x):\n```",
    ),
    ("shell before", "```bash\npip list\n```\n```python\nCODE```"),
    (
        "json before",
        "```json\n{\"x\": 3}\n```\n```python\nCODE```",
    ),
    (
        "pseudocode before",
        "```text\ndef inc(x): the number plus one\n```\n```python\nCODE```",
    ),
    (
        "pseudocode that parses after",
        "```python\nCODE```\n```pseudocode\nDRAFT```",
    ),
    (
        "another language after",
        "```python\nCODE```\n```javascript\nfunction inc(x) { return x + 1 }\n```",
    ),
    ("a foreign tag, but Python", "```text\nCODE```"),
    ("an unknown tag", "```solution\nCODE```"),
    (
        "markdown around",
        "```markdown\nThe function:\n```python\nCODE```\n```",
    ),
    (
        "thinking",
        "<think>\n```python\nDRAFT```\nNo.\n</think>\n```python\nCODE```",
    ),
    (
        "thinking, opened by the prompt",
        "```python\nDRAFT```\nNo.\n</think>\n\n```python\nCODE```",
    ),
    ("thinking, never closed", "<think>\nSo:\n```python\nCODE```"),
    ("thinking with bare code", "<think>\nDRAFT</think>\nCODE"),
    (
        "thinking with an open fence",
        "<think>\n```python\nDRAFT</think>\nCODE",
    ),
    (
        "thinking in brackets",
        "[THINK]\n```python\nDRAFT```\n[/THINK]\n```python\nCODE```",
    ),
    (
        "a better idea in the thinking",
        "<think>\n```python\nDRAFT```\n```python\ndef inc(x): return 1 + x\n```\n</think>\n```python\nCODE```",
    ),
    (
        "prose before bare code",
        "Sure! Here is the function:\n\nCODE",
    ),
    (
        "prose after bare code",
        "CODE\nThis adds one to its argument.",
    ),
    (
        "prose without a blank line",
        "Here is it:\nCODEIt adds one (to its argument). Don't worry.\n",
    ),
    (
        "prose that parses",
        "Done\nNote: this\nCODEthis is it\nprint the result\n",
    ),
    ("a heading", "# Solution\n\nIt's easy.\n\nCODE"),
    (
        "bare draft, then fenced final",
        "DRAFT\nThat adds two.\n```python\nCODE```",
    ),
    (
        "bare draft, then bare final",
        "DRAFT\nThat adds two, which is wrong. Again:\n\nCODE",
    ),
    ("a byte order mark", "\u{feff}CODE"),
    ("answer tags", "<answer>\nCODE</answer>"),
    (
        "tags on the lines of code",
        "<code>def inc(x):\n    return x + 1</code>",
    ),
    (
        "instruction tags",
        "[PYTHON]\nCODE[/PYTHON]\n[TESTS]\n# none\n[/TESTS]",
    ),
    ("LaTeX", "\\begin{code}\nCODE\\end{code}"),
    ("a special token", "<|python_tag|>CODE<|im_end|>"),
    (
        "a tool call with parameters",
        "<tool_call>\n<function=python>\n<parameter=code>\nCODE</parameter>\n</function>\n</tool_call>",
    ),
    (
        "a tool call in JSON",
        "<tool_call>\n{\"name\": \"python\", \"arguments\": {\"code\": \"def inc(x):\\n    return x + 1\\n\"}}\n</tool_call>",
    ),
    (
        "a call in a JSON block",
        "```json\n{\"language\": \"python\", \"code\": \"def inc(x):\\n    return x + 1\\n\"}\n```",
    ),
    (
        "markdown in JSON",
        "{\"answer\": \"So:\\n```python\\ndef inc(x):\\n    return x + 1\\n```\\n\"}",
    ),
    (
        "a session",
        ">>> def inc(x):\n...     return x + 1\n...\n>>> inc(3)\n4\n",
    ),
    (
        "a session in a block",
        "```python\n>>> def inc(x):\n...     return x + 1\n...\n>>> inc(\"a\")\nTraceback (most recent call last):\nTypeError\n```",
    ),
    (
        "a session of IPython",
        "In [1]: def inc(x):\n   ...:     return x + 1\n   ...:\n\nIn [2]: inc(3)\nOut[2]: 4\n",
    ),
    ("a session after the code", "CODE\n>>> inc(3)\n4\n"),
    (
        "a session after the code in a block",
        "```python\nCODE>>> inc(3)\n4\n```",
    ),
    (
        "nested elsewhere",
        "```python\nCODE```\n```python\ndef outer():\n    def inc(x):\n        return x\n    return inc\n```",
    ),
    (
        "a method of another class",
        "```python\nCODE```\n```python\nclass Counter:\n    def inc(self):\n        return 2\n```",
    ),
    (
        "an attempt that does not parse after",
        "```python\nCODE```\nIn one line:\n```python\ndef inc(x) return x + 1\n```",
    ),
];

/// Entry point, text, and the whole program.
pub const WHOLE: &[(&str, &str, &str, &str)] = &[
    (
        "lambda",
        "inc",
        "```bash\npip list\n```\n```python\ninc = lambda x: x + 1\n```",
        "inc = lambda x: x + 1\n",
    ),
    (
        "partial",
        "inc",
        "```python\nimport functools, operator\ninc = functools.partial(operator.add, 1)\n```\n```python\ninc(3)\n```",
        "import functools, operator\ninc = functools.partial(operator.add, 1)\n",
    ),
    (
        "decorated, async, in a branch",
        "f",
        "```python\nimport sys\nif sys.version_info > (3,):\n    @cache\n    def f(x):\n        return x\n```",
        "import sys\nif sys.version_info > (3,):\n    @cache\n    def f(x):\n        return x\n",
    ),
    (
        "async",
        "f",
        "```python\nasync def f(x):\n    return x\n```",
        "async def f(x):\n    return x\n",
    ),
    (
        "CRLF",
        "inc",
        "Here:\r\n```python\r\ndef inc(x):\r\n    return x + 1\r\n```\r\n",
        INC,
    ),
    (
        "CR",
        "inc",
        "```python\rdef inc(x):\r    return x + 1\r```\r",
        INC,
    ),
    (
        "tabs",
        "inc",
        "```python\ndef inc(x):\n\treturn x + 1\n```",
        "def inc(x):\n\treturn x + 1\n",
    ),
    (
        "a fence in a docstring",
        "inc",
        "```python\ndef inc(x):\n    \"\"\"Adds one.\n\n    ```\n    inc(3)  # 4\n    ```\n    \"\"\"\n    return x + 1\n```\nDone.",
        "def inc(x):\n    \"\"\"Adds one.\n\n    ```\n    inc(3)  # 4\n    ```\n    \"\"\"\n    return x + 1\n",
    ),
    (
        "a tagged fence in a docstring",
        "inc",
        "```python\ndef inc(x):\n    '''Adds one.\n    ```python\n    def inc(x): return 0\n    ```\n    '''\n    return x + 1\n```\nDone.",
        "def inc(x):\n    '''Adds one.\n    ```python\n    def inc(x): return 0\n    ```\n    '''\n    return x + 1\n",
    ),
    (
        "a fence at the margin of a string",
        "inc",
        "```python\nDOC = \"\"\"\n```\n\"\"\"\n\ndef inc(x):\n    return x + 1\n```",
        "DOC = \"\"\"\n```\n\"\"\"\n\ndef inc(x):\n    return x + 1\n",
    ),
    (
        "a fence in a string",
        "inc",
        "```python\nFENCE = \"```\"\n\ndef inc(x):\n    return x + 1\n```",
        "FENCE = \"```\"\n\ndef inc(x):\n    return x + 1\n",
    ),
    (
        "tags of thinking in a string",
        "cut",
        "```python\ndef cut(s):\n    return s.split(\"</think>\")[-1]\n```",
        "def cut(s):\n    return s.split(\"</think>\")[-1]\n",
    ),
    (
        "a helper before",
        "inc",
        "```python\ndef one():\n    return 1\n```\n```python\ndef inc(x):\n    return x + one()\n```",
        "def one():\n    return 1\ndef inc(x):\n    return x + one()\n",
    ),
    (
        "a helper after",
        "inc",
        "```python\ndef inc(x):\n    return x + one()\n```\nwith\n```python\ndef one():\n    return 1\n```",
        "def one():\n    return 1\ndef inc(x):\n    return x + one()\n",
    ),
    (
        "a helper of a helper",
        "f",
        "```python\nimport math\nK = 2\n```\n```python\ndef g(x):\n    return math.sqrt(x) * K\n```\n```python\ndef f(x):\n    return g(x)\n```",
        "import math\nK = 2\ndef g(x):\n    return math.sqrt(x) * K\ndef f(x):\n    return g(x)\n",
    ),
    (
        "the later helper",
        "f",
        "```python\ndef g(x):\n    return 0\n```\n```python\ndef g(x):\n    return 1\n```\n```python\ndef f(x):\n    return g(x)\n```",
        "def g(x):\n    return 1\ndef f(x):\n    return g(x)\n",
    ),
    (
        "imports before",
        "f",
        "```python\nimport operator\nfrom typing import List as L\n```\n```python\ndef f(x: L[int]):\n    return operator.add(x, 1)\n```",
        "import operator\nfrom typing import List as L\ndef f(x: L[int]):\n    return operator.add(x, 1)\n",
    ),
    (
        "a star import before",
        "f",
        "```python\nfrom math import *\n```\n```python\ndef f(x):\n    return sqrt(x)\n```",
        "from math import *\ndef f(x):\n    return sqrt(x)\n",
    ),
    (
        "a future import comes first",
        "f",
        "```python\ndef g(x: T):\n    return x\n```\n```python\n\"\"\"Doc.\"\"\"\nfrom __future__ import annotations\n\ndef f(x: U):\n    return g(x)\n```",
        "from __future__ import annotations\ndef g(x: T):\n    return x\n\"\"\"Doc.\"\"\"\n\n\ndef f(x: U):\n    return g(x)\n",
    ),
    (
        "locals are not needed of others",
        "f",
        "```python\nn = int(input())\ny = 3\n```\n```python\ndef f(x):\n    n = x\n    return [y for y in range(n)]\n```",
        "def f(x):\n    n = x\n    return [y for y in range(n)]\n",
    ),
    (
        "attributes and keywords are not names",
        "f",
        "```python\ndef key(x):\n    return x\nappend = 1\n```\n```python\ndef f(x):\n    x.append(1)\n    return sorted(x, key=len)\n```",
        "def f(x):\n    x.append(1)\n    return sorted(x, key=len)\n",
    ),
    (
        "a draft is no helper",
        "inc",
        "```python\ndef inc(x):\n    return x + 2\n```\n```python\ndef inc(x):\n    return inc(x - 1) + 1 if x else 1\n```",
        "def inc(x):\n    return inc(x - 1) + 1 if x else 1\n",
    ),
    (
        "several functions",
        "b",
        "```python\ndef a(x):\n    return x\n\ndef b(x):\n    return a(x)\n\ndef c(x):\n    return b(x)\n```",
        "def a(x):\n    return x\n\ndef b(x):\n    return a(x)\n\ndef c(x):\n    return b(x)\n",
    ),
    (
        "bare imports, prose, function",
        "f",
        "import math\n\nNext comes the function itself:\n\ndef f(x):\n    return math.sqrt(x)\n",
        "import math\ndef f(x):\n    return math.sqrt(x)\n",
    ),
    (
        "bare, several statements",
        "f",
        "Here you are.\n\nfrom math import sqrt\n\nN = [\n    1,\n    2,\n]\n\n# The function.\n@cache\ndef f(x):\n    if x:\n        return sqrt(x)\n\n    return N[0]\n\nThat is all.",
        "from math import sqrt\n\nN = [\n    1,\n    2,\n]\n\n# The function.\n@cache\ndef f(x):\n    if x:\n        return sqrt(x)\n\n    return N[0]\n",
    ),
    (
        "an import in a session",
        "root",
        ">>> from math import sqrt\n>>> def root(x):\n...     return sqrt(x)\n>>> root(4)\n2.0\n",
        "from math import sqrt\ndef root(x):\n    return sqrt(x)\n",
    ),
    (
        "a method of Solution",
        "inc",
        "```python\nclass Solution:\n    def inc(self, x):\n        return x + 1\n```\n```python\nprint(Solution().inc(3))\n```",
        "class Solution:\n    def inc(self, x):\n        return x + 1\n",
    ),
    (
        "a method by its class",
        "Adder().add",
        "```python\nclass Adder:\n    def add(self, a, b):\n        return a + b\n```\n```python\nclass Other:\n    def add(self, a, b):\n        return 0\n```",
        "class Adder:\n    def add(self, a, b):\n        return a + b\n",
    ),
    (
        "a class",
        "Stack",
        "```python\nclass Stack:\n    pass\n```\n```python\ns = Stack()\n```",
        "class Stack:\n    pass\n",
    ),
    (
        "a class with its imports elsewhere",
        "Solution",
        "```python\nfrom typing import List\n```\n```python\nclass Solution:\n    def f(self, x: List[int]):\n        return x\n```",
        "from typing import List\nclass Solution:\n    def f(self, x: List[int]):\n        return x\n",
    ),
    // Code is found, not mended.
    (
        "a syntax error stays",
        "inc",
        "```python\ndef inc(x)\n    return x + 1\n```",
        "def inc(x)\n    return x + 1\n",
    ),
    (
        "a syntax error stays in bare code",
        "inc",
        "Here:\ndef inc(x)\n    return x + 1\n",
        "def inc(x)\n    return x + 1\n",
    ),
    (
        "the name is missing",
        "dec",
        "Here:\n```python\ndef inc(x):\n    return x + 1\n```",
        INC,
    ),
    (
        "no definition at all",
        "inc",
        "```python\nx = 1\n```",
        "x = 1\n",
    ),
    (
        "a block with own tests stays whole",
        "inc",
        "```python\ndef inc(x):\n    return x + 1\n\nassert inc(1) == 3\n```",
        "def inc(x):\n    return x + 1\n\nassert inc(1) == 3\n",
    ),
];

/// Texts without a name to call: what is wanted, and the whole program.
pub const NAMELESS: &[(&str, Wanted, &str, &str)] = &[
    (
        "a script",
        Wanted::Script,
        "So:\n```python\nn = int(input())\nprint(n + 1)\n```\nExample:\n```\n5\n```",
        "n = int(input())\nprint(n + 1)\n",
    ),
    (
        "draft and final script",
        Wanted::Script,
        "```python\nprint(int(input()))\n```\n```python\nprint(int(input()) + 1)\n```",
        "print(int(input()) + 1)\n",
    ),
    (
        "a script and how it is run",
        Wanted::Script,
        "```python\nimport sys\ndef main():\n    print(sys.stdin.read())\nmain()\n```\n```bash\npython main.py\n```",
        "import sys\ndef main():\n    print(sys.stdin.read())\nmain()\n",
    ),
    (
        "a script in two blocks",
        Wanted::Script,
        "```python\ndef solve():\n    print(input())\n```\nThen\n```python\nsolve()\n```",
        "def solve():\n    print(input())\nsolve()\n",
    ),
    (
        "a script and its tests",
        Wanted::Script,
        "```python\ndef f(x):\n    return x\nprint(f(int(input())))\n```\n```python\nassert f(1) == 1\n```",
        "def f(x):\n    return x\nprint(f(int(input())))\n",
    ),
    (
        "a bare script",
        Wanted::Script,
        "Here it is:\n\nn = int(input())\nprint(n + 1)\n\nIt reads a number.",
        "n = int(input())\nprint(n + 1)\n",
    ),
    (
        "a script without input",
        Wanted::Script,
        "```python\nfor i in range(3):\n    print(i)\n```\nprints\n```\n0\n1\n2\n```",
        "for i in range(3):\n    print(i)\n",
    ),
    (
        "one line",
        Wanted::Script,
        "```python def inc(x): return x + 1```",
        "def inc(x): return x + 1\n",
    ),
    (
        "some function",
        Wanted::Function,
        "```python\ndef inc(x):\n    return x + 2\n```\n```python\ndef inc(x):\n    return x + 1\n```\n```python\nprint(inc(3))\n```\n```python\ndef test_inc():\n    assert inc(1) == 2\n```",
        INC,
    ),
    (
        "some method",
        Wanted::Function,
        "```python\nclass Solution:\n    def f(self, x):\n        return x\n```\n```python\nSolution().f(1)\n```",
        "class Solution:\n    def f(self, x):\n        return x\n",
    ),
    (
        "a function that is wanted, a script that is there",
        Wanted::Function,
        "```python\nprint(1)\n```",
        "print(1)\n",
    ),
];

/// No code.
pub const NOTHING: &[&str] = &[
    "",
    " \n",
    "I cannot do that.",
    "```python\n```",
    "```",
    "~~~\n\n~~~",
    "<think>hm</think>",
    "Call `inc(3)`.\n`inc(3)`\nprint the result\n",
    "Done\nNote: this is it.\n(See above.)",
];
