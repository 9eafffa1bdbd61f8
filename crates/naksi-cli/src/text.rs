//! Text files that people edit: read as a whole, without the byte order mark of Windows editors.

use std::fs;
use std::io;
use std::path::Path;

/// What Windows calls UTF-8 with a signature.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The text of a file, without a byte order mark at its beginning. Invalid UTF-8 is an error.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    let mut text = fs::read_to_string(path)?;
    if text.starts_with(BYTE_ORDER_MARK) {
        text.drain(..BYTE_ORDER_MARK.len_utf8());
    }
    Ok(text)
}
