//! Lines on standard output and standard error. A reader who is gone, as in `problems stats | head`, ends no work.

use std::fmt::Arguments;
use std::io::{self, Write};

/// Writes a line on standard output; what nobody reads is lost.
pub fn line(text: Arguments) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// Tells a person something on standard error; what cannot be written is lost.
pub fn say(text: Arguments) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
