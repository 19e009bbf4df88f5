"""torch_from_wheel.py WHEEL DEST: makes a folder from which `import torch` works on a machine without CUDA.

The torch wheel of the Python package index is built for CUDA: importing it needs gigabytes of NVIDIA's libraries,
although nothing of them is called on the CPU. Here they are replaced by stubs. That is enough for what the checkpoint
tests ask of Python (load, save, AdamW), and good for nothing else: distributed training is switched off, and whatever
reaches for a GPU fails.

Use it with PYTHONPATH=DEST. DEST is complete or absent.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

LEFT_OUT = ("torch/include/", "torch/test/", "torch/share/", "torch/bin/protoc")
REPLACED = {"libtorch_cuda.so", "libtorch_cuda_linalg.so", "libtorch_nvshmem.so", "libcaffe2_nvrtc.so"}
NEEDED = ["typing_extensions", "filelock", "sympy", "networkx", "jinja2", "fsspec"]
# Python modules that would set up distributed training through the stubs.
SWITCHED_OFF = {
    "torch/distributed/__init__.py": ('return hasattr(torch._C, "_c10d_init")', "return False"),
    "torch/distributed/rpc/__init__.py": ('return hasattr(torch._C, "_rpc_init")', "return False"),
    "torch/__init__.py": ('if hasattr(torch._C, "_c10d_init"):', "if False:"),
}


def unpack(wheel, dest):
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if not name.startswith(LEFT_OUT) and os.path.basename(name) not in REPLACED:
                path = archive.extract(name, dest)
                if name.startswith("torch/bin/"):
                    os.chmod(path, 0o755)
    for name, (old, new) in SWITCHED_OFF.items():
        path = dest / name
        text = path.read_text()
        if old not in text:
            sys.exit(f"{name} does not contain {old!r}: this recipe is for another release of torch")
        path.write_text(text.replace(old, new))


def symbols(library):
    """(undefined as (name, version, type), names defined) of a shared library."""
    listing = subprocess.run(["readelf", "-W", "--dyn-syms", library], capture_output=True, text=True, check=True)
    undefined, defined = [], set()
    for line in listing.stdout.splitlines():
        fields = line.split()
        if len(fields) < 8 or not fields[0].endswith(":"):
            continue
        name, _, version = fields[7].partition("@")
        if fields[6] != "UND":
            defined.add(name)
        elif fields[4] != "WEAK":
            undefined.append((name, version.strip("@"), fields[3]))
    return undefined, defined


def needed(library):
    dynamic = subprocess.run(["readelf", "-dW", library], capture_output=True, text=True, check=True)
    return [line.split("[")[1].rstrip("]") for line in dynamic.stdout.splitlines() if "(NEEDED)" in line]


def assembly(stubs):
    """Functions that fail or return the address of zeros; type descriptions that are at least readable."""
    lines = [".bss", ".balign 64", "zeros: .zero 4096"]
    for name, kind in stubs:
        is_object = kind == "OBJECT" or name.startswith(("_ZTV", "_ZTI"))
        lines += [".data" if is_object else ".text", ".balign 8", f".globl {name}"]
        lines += [f".type {name}, {'@object' if is_object else '@function'}", f"{name}:"]
        if name.startswith("_ZTI"):
            lines += [".quad _ZTVN10__cxxabiv117__class_type_infoE + 16, 1f", f'1: .string "{name[4:]}"']
        elif is_object:
            lines += [".zero 512"]
        elif name.startswith("_Z"):
            lines += ["leaq zeros(%rip), %rax", "ret"]
        else:
            lines += ["movl $100, %eax", "ret"]
        lines += [f".size {name}, . - {name}"]
    return "\n".join(lines + ['.section .note.GNU-stack,"",@progbits', ""])


def compile_stub(lib, soname, version, stubs):
    source, script = lib / "stub.S", lib / "stub.map"
    source.write_text(assembly(stubs))
    command = ["cc", "-shared", "-nostdlib", "-o", lib / soname, source, f"-Wl,-soname,{soname}"]
    if version:
        script.write_text(f"{version} {{ global: *; }};\n")
        command.append(f"-Wl,--version-script,{script}")
    subprocess.run(command, check=True)
    source.unlink()
    script.unlink(missing_ok=True)


def replace_cuda(lib):
    present = {path.name: path for path in lib.iterdir() if ".so" in path.name}
    asked = [present[n] for n in ("libtorch_python.so", "libc10_cuda.so", "libtorch_cpu.so", "libtorch_global_deps.so")]
    defined = set().union(*(symbols(path)[1] for path in present.values()))
    missing = {}
    for path in asked:
        for name, version, kind in symbols(path)[0]:
            # What has a version belongs to the library of that name; what has none, to libtorch_cuda.
            soname = version if version.startswith("lib") else "libtorch_cuda.so"
            of_cuda = version.startswith("lib") or (not version and not name.startswith(("Py", "_Py")))
            if of_cuda and name not in defined:
                missing.setdefault(soname, {})[name] = kind
    system = set()
    for soname in ("libstdc++.so.6", "libc.so.6", "libm.so.6", "libgcc_s.so.1"):
        found = subprocess.run(["cc", f"-print-file-name={soname}"], capture_output=True, text=True, check=True)
        system |= symbols(found.stdout.strip())[1]
    for soname in {"libtorch_cuda.so"} | set().union(*(needed(path) for path in asked)):
        if soname.startswith(("libcu", "libnccl", "libnv", "libtorch_cuda")) and soname not in present:
            stubs = [(n, kind) for n, kind in sorted(missing.get(soname, {}).items()) if n not in system]
            version = soname if soname in missing and soname != "libtorch_cuda.so" else None
            compile_stub(lib, soname, version, stubs)


def main():
    wheel, dest = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    tag = f"-cp{sys.version_info.major}{sys.version_info.minor}-"
    if tag not in wheel.name:
        sys.exit(f"{wheel.name} is not for this Python, whose wheels have {tag} in their names")
    partial = dest.with_name(f"{dest.name}.partial-{os.getpid()}")
    try:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", partial]
        subprocess.run(pip + NEEDED, check=True)
        unpack(wheel, partial)
        replace_cuda(partial / "torch/lib")
        environment = dict(os.environ, PYTHONPATH=str(partial))
        subprocess.run([sys.executable, "-c", "import torch; torch.ones(2).sum()"], env=environment, check=True)
        os.replace(partial, dest)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


main()
