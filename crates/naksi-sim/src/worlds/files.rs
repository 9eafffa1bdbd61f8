//! What a session of a run does with a file: two writes side by side, a sync behind them, and a look at what it holds.
//!
//! A disk may be full; what was taken as a whole must be there, and a sync comes after the writes before it. Nothing here
//! knows a port.

use std::path::PathBuf;

use naksi::prelude::*;

use super::observations::Observations;

const FIRST: u32 = 1;
const SECOND: u32 = 2;
const SYNC: u32 = 3;
const LOOK: u32 = 4;
/// What is written behind the first text.
const TAIL: &[u8] = b"cod";

/// How far a session has come with its file.
#[derive(Debug, Default)]
pub struct FileCheck {
    file: Option<FileId>,
    /// What the file shall hold.
    text: Vec<u8>,
    /// Writes that have not ended.
    writing: u32,
    /// The disk took less than it was given.
    is_cut: bool,
}

impl FileCheck {
    /// Opens the session's file.
    pub fn begin(c: &mut Conn<'_>) {
        c.open_file(&PathBuf::from(format!("{}", c.id())), FileAccess::Create, 0);
    }

    /// Something was done with the file: the next thing follows.
    pub fn go_on(&mut self, c: &mut Conn<'_>, done: &FileDone<'_>, observations: &Observations) {
        match *done {
            FileDone::Opened { file, bytes, .. } => {
                if bytes != 0 {
                    observations.break_law("a fresh file is not empty");
                }
                // Half of one byte is none: a disk that is full takes nothing of it.
                let text = if c.id().slot().is_multiple_of(3) { &b"h"[..] } else { &b"herring"[..] };
                *self = Self { file: Some(file), text: [text, TAIL].concat(), writing: 2, is_cut: false };
                c.write_at(file, 0, text.to_vec(), FIRST);
                c.write_at(file, text.len() as u64, TAIL.to_vec(), SECOND);
                c.sync_file(file, SYNC);
            }
            FileDone::Written { tag, bytes, .. } => {
                let whole = if tag == SECOND { TAIL.len() } else { self.text.len() - TAIL.len() };
                self.written(bytes as usize != whole);
            }
            FileDone::Failed { tag: FIRST | SECOND, .. } => self.written(true),
            FileDone::Synced { .. } => {
                self.check_order(observations);
                self.file.inspect(|file| c.read_at(*file, 0, 64, LOOK));
            }
            FileDone::Read { data, .. } => {
                if !self.is_cut && data != self.text {
                    observations.break_law(format!("a file does not hold what was written: {data:?}"));
                }
                self.close(c);
            }
            FileDone::Failed { tag, .. } => {
                if tag == SYNC {
                    self.check_order(observations);
                }
                self.close(c);
            }
        }
    }

    fn written(&mut self, is_cut: bool) {
        self.writing -= 1;
        self.is_cut |= is_cut;
    }

    fn check_order(&self, observations: &Observations) {
        if self.writing > 0 {
            observations.break_law("a sync has overtaken the writes before it");
        }
    }

    fn close(&mut self, c: &mut Conn<'_>) {
        self.file.take().inspect(|file| c.close_file(*file));
    }
}
