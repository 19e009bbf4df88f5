"""Imports the standard library that candidates may use: after the snapshot there is no file system to import from."""

import importlib

_MODULES = """
_strptime abc argparse array ast asyncio base64 binascii bisect calendar cmath cmd code codecs collections
collections.abc colorsys concurrent.futures concurrent.futures.thread configparser contextlib contextvars copy
copyreg csv dataclasses datetime decimal difflib dis doctest email.message encodings.ascii encodings.cp1252
encodings.hex_codec encodings.idna encodings.latin_1 encodings.rot_13 encodings.utf_16 encodings.utf_32
encodings.utf_8_sig enum errno filecmp fileinput fnmatch fractions functools gc getopt gettext glob graphlib gzip hashlib
heapq hmac html html.parser importlib importlib.resources inspect io ipaddress itertools json keyword linecache
locale logging math mimetypes numbers opcode operator optparse os os.path pathlib pickle pkgutil platform pprint
profile pstats queue quopri random re reprlib sched secrets select selectors shlex shutil signal socket statistics
string string.templatelib stringprep struct subprocess symtable sys tempfile textwrap threading time timeit token
tokenize tomllib traceback tracemalloc types typing unicodedata unittest unittest.mock urllib.parse uuid warnings
weakref xml.dom.minidom xml.etree.ElementTree zipfile zlib zoneinfo
""".split()

for _name in _MODULES:
    importlib.import_module(_name)
