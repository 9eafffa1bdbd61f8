//! Texts that people write with an editor: read whole, without the mark that editors of Windows put before them.

use std::fs;
use std::io;
use std::path::Path;

/// What Windows calls UTF-8 with a signature.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The text of a file, without a byte order mark at its beginning. Bytes that are no UTF-8 are an error.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    let mut text = fs::read_to_string(path)?;
    if text.starts_with(BYTE_ORDER_MARK) {
        text.drain(..BYTE_ORDER_MARK.len_utf8());
    }
    Ok(text)
}
