//! Sends files of the current folder, read overlapped on the worker's own port. Run `cargo run --example
//! file_server`, then `echo Cargo.toml | nc -q 1 127.0.0.1 7777`.
use naksi::prelude::*;
use std::path::{Component, Path};

/// One read is a quarter of the queue's limit, so that reading never outruns the peer.
const READ_BYTES: usize = 64 * 1024;

#[derive(Default)]
struct FileServer {
    reading: Option<(FileId, u64, u64)>,
    waiting: bool,
}

impl FileServer {
    fn read_on(&mut self, c: &mut Conn<'_>) {
        match self.reading {
            Some((_, offset, bytes)) if offset == bytes => c.close(DisconnectReason::Handler),
            // A slow peer is awaited: `on_sent` continues.
            Some(_) if c.is_congested() => self.waiting = true,
            Some((file, offset, _)) => c.read_at(file, offset, READ_BYTES, 0),
            None => {}
        }
    }
}

impl Session for FileServer {
    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return 0 };
        let name = String::from_utf8_lossy(&data[..end]).trim().to_owned();
        let inside = Path::new(&name).components().all(|part| matches!(part, Component::Normal(_)));
        if !inside || self.reading.is_some() {
            c.send(b"only one file, and only from this folder\n");
            c.close(DisconnectReason::Handler);
        } else {
            c.open_file(Path::new(&name), FileAccess::Read, 0);
        }
        end + 1
    }

    fn on_file(&mut self, c: &mut Conn<'_>, done: FileDone<'_>) {
        match done {
            FileDone::Opened { file, bytes, .. } => self.reading = Some((file, 0, bytes)),
            FileDone::Read { data, .. } => {
                c.send(data);
                if let Some((_, offset, bytes)) = &mut self.reading {
                    // A file that shrank while it was read ends here.
                    *offset = if data.is_empty() { *bytes } else { *offset + data.len() as u64 };
                }
            }
            FileDone::Failed { error, .. } => {
                c.send(format!("{error}\n").as_bytes());
                c.close(DisconnectReason::Handler);
            }
            FileDone::Written { .. } | FileDone::Synced { .. } => {}
        }
        self.read_on(c);
    }

    fn on_sent(&mut self, c: &mut Conn<'_>, _: usize) {
        if self.waiting && !c.is_congested() {
            self.waiting = false;
            self.read_on(c);
        }
    }
}

fn main() -> naksi::Result<()> {
    Server::from_env()?.session(FileServer::default).run()
}
