"""unpack.py WHEEL FOLDER MEMBER...: unpacks the named members; one that ends in / stands for all below it."""

import os
import sys
import zipfile

wheel, folder, *wanted = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    names = archive.namelist()
    for want in wanted:
        chosen = [n for n in names if n == want or (want.endswith("/") and n.startswith(want))]
        if not chosen:
            sys.exit(f"{wheel} holds no {want}")
        for name in chosen:
            path = archive.extract(name, folder)
            mode = archive.getinfo(name).external_attr >> 16
            if mode & 0o111 and not os.path.isdir(path):
                os.chmod(path, 0o755)
