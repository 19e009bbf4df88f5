//! What the guest finds where the operating system would be: functions of the C library that fail.
//!
//! WASI's functions are stubs that trap. The functions of the C library that would call them fail instead, as on a system
//! that lacks them (ENOSYS), so that Python raises OSError and a program can go on. What traps all the same (CPython's
//! fatal errors, a stub that is reached some other way) notes first what it is, for the host to read.

use std::collections::HashMap;

use wasm_encoder::{Function, MemArg};
use wasmparser::{FuncType, ValType};

use super::fuse::FuseError;
use super::link::Linked;
use crate::cause::{DENIED, FATAL};

/// "Function not implemented", as this C library numbers errors.
const ENOSYS: i32 = 52;

/// "Non-recoverable failure", of `getaddrinfo`.
const EAI_FAIL: i32 = -4;

/// Functions of the C library that fail by returning -1.
const FAIL: &str = "
    accept accept4 access bind chdir clock_getres clock_gettime close closedir connect faccessat fcntl fdatasync fstat
    fstatat fsync ftruncate futimens getentropy getpeername getsockname getsockopt gettimeofday ioctl link listen lseek
    lstat mkdir mkdirat nanosleep open openat poll pread preadv pwrite pwritev read readlink readlinkat readv recv
    recvfrom rename renameat rmdir select send sendto setsockopt shutdown socket stat symlink symlinkat truncate unlink
    unlinkat utimensat utimes write writev __wasilibc_tell";

/// Those that return something else where they fail.
const FAIL_WITH: [(&str, i32); 11] = [
    ("clock_nanosleep", ENOSYS),
    ("posix_fadvise", ENOSYS),
    ("getaddrinfo", EAI_FAIL),
    ("getnameinfo", EAI_FAIL),
    ("gethostbyaddr", 0),
    ("gethostbyname", 0),
    ("fopen", 0),
    ("isatty", 0),
    ("opendir", 0),
    ("readdir", 0),
    ("realpath", 0),
];

/// Functions that never return, and what it is that ends there.
const ENDS: [(&str, &str, &str); 6] = [
    ("pthread_cond_wait", DENIED, "waiting for another thread"),
    ("abort", FATAL, "abort"),
    ("__stack_chk_fail", FATAL, "a broken stack"),
    ("Py_FatalError", FATAL, "a fatal error of CPython"),
    ("_Py_FatalErrorFunc", FATAL, "a fatal error of CPython"),
    (
        "_Py_FatalRefcountErrorFunc",
        FATAL,
        "a fatal error of CPython",
    ),
];

/// Which of the linked functions get another body than their own.
pub(super) struct System {
    /// The function that gives the address of `errno`.
    pub(super) errno: u32,
    /// What they return.
    fails: HashMap<u32, i32>,
    /// The number of the cause, from 1.
    ends: HashMap<u32, i32>,
    names: Vec<String>,
}

impl System {
    pub(super) fn new(linked: &Linked<'_>) -> Result<System, FuseError> {
        let mut system = System {
            errno: linked.function("__errno_location")?,
            fails: HashMap::new(),
            ends: HashMap::new(),
            names: Vec::new(),
        };
        for name in FAIL.split_whitespace() {
            system.fails.insert(linked.function(name)?, -1);
        }
        for (name, value) in FAIL_WITH {
            system.fails.insert(linked.function(name)?, value);
        }
        for (name, prefix, what) in ENDS {
            system.end(linked.function(name)?, prefix, what);
        }
        for (&function, what) in &linked.system {
            system.end(function, DENIED, what);
        }
        Ok(system)
    }

    fn end(&mut self, function: u32, prefix: &str, what: &str) {
        // Names of exports are unique; a second function of the same meaning takes the number of the first.
        let name = format!("{prefix}{what}");
        let at = self.names.iter().position(|known| *known == name);
        let at = at.unwrap_or_else(|| {
            self.names.push(name);
            self.names.len() - 1
        });
        self.ends.insert(function, at as i32 + 1);
    }

    /// What a function returns, if it does nothing but fail.
    pub(super) fn fails(&self, function: u32) -> Option<i32> {
        self.fails.get(&function).copied()
    }

    /// The number of the cause that a function is of the instance's end.
    pub(super) fn cause(&self, function: u32) -> Option<i32> {
        self.ends.get(&function).copied()
    }

    /// The names of the causes, by number.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }
}

/// The body of a function of type `ty` that sets `errno`, whose address the function of index `errno` gives, and
/// returns `value`.
pub(super) fn failing(ty: &FuncType, errno: u32, value: i32) -> Result<Function, FuseError> {
    let mut body = Function::new([]);
    let address = MemArg {
        offset: 0,
        align: 2,
        memory_index: 0,
    };
    body.instructions()
        .call(errno)
        .i32_const(ENOSYS)
        .i32_store(address);
    match ty.results() {
        [ValType::I32] => body.instructions().i32_const(value).end(),
        [ValType::I64] => body.instructions().i64_const(value.into()).end(),
        other => return Err(FuseError(format!("a system call returns {other:?}"))),
    };
    Ok(body)
}
