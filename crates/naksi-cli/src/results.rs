//! Results on standard output. What a result says is not known here.

use std::io::{self, Write};

use crate::outcome::Problem;

/// Prints a result, all of it.
pub(crate) fn print(text: &str) -> Result<(), Problem> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Problem::output)
}
