//! echo and relay on tokio: one task per connection, and for the relay one more that writes.
//!
//! `--runtime current` is the current-thread runtime, `--runtime multi` the work-stealing one; the rooms of both are
//! channels behind a lock. `--runtime local` is in `local.rs`.

#![forbid(unsafe_code)]

mod local;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bench_shared::{App, JOIN, MSG, Options, announce, first_frame, joined, room_of};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// What a task reads at a time.
const READ_BYTES: usize = 16 * 1024;
/// Most messages that wait for one member; a member with more is disconnected.
const QUEUE_MESSAGES: usize = 4096;

fn main() -> io::Result<()> {
    let options = Options::from_args();
    let runtime = match options.runtime.as_deref() {
        Some("local") => return local::run(options),
        Some("multi") => {
            tokio::runtime::Builder::new_multi_thread().worker_threads(options.workers).enable_io().build()?
        }
        _ => tokio::runtime::Builder::new_current_thread().enable_io().build()?,
    };
    runtime.block_on(serve(options))
}

async fn serve(options: Options) -> io::Result<()> {
    let listener = TcpListener::bind(options.address).await?;
    announce(listener.local_addr()?);
    let rooms = Arc::new(Mutex::new(Rooms::default()));
    let mut number = 0_u64;
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        stream.set_nodelay(true).ok(); // An option, not a need.
        number += 1;
        match options.app {
            App::Echo => drop(tokio::spawn(echo(stream))),
            App::Relay => drop(tokio::spawn(relay(stream, Arc::clone(&rooms), number))),
        }
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..read]).await?;
    }
}

#[derive(Default)]
struct Rooms(HashMap<u32, HashMap<u64, mpsc::Sender<Bytes>>>);

async fn relay(stream: TcpStream, rooms: Arc<Mutex<Rooms>>, me: u64) -> io::Result<()> {
    let (mut reader, writer) = stream.into_split();
    let (sender, receiver) = mpsc::channel(QUEUE_MESSAGES);
    let writing = tokio::spawn(write_all(writer, receiver));
    let mut room = None;
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    'reading: while matches!(reader.read_buf(&mut buffer).await, Ok(1..)) {
        loop {
            let Ok(frame) = first_frame(&buffer) else { break 'reading };
            let Some(frame) = frame else { break };
            let (id, length) = (frame.id, frame.bytes.len());
            match (id, room) {
                (JOIN, old) => {
                    let Ok(number) = room_of(frame) else { break 'reading };
                    leave(&rooms, old, me);
                    let mut rooms = rooms.lock().unwrap_or_else(PoisonError::into_inner);
                    rooms.0.entry(number).or_default().insert(me, sender.clone());
                    room = Some(number);
                    sender.try_send(Bytes::copy_from_slice(&joined(number))).ok(); // As for any message.
                    drop(buffer.split_to(length));
                }
                (MSG, Some(room)) => {
                    let message = buffer.split_to(length).freeze();
                    let mut rooms = rooms.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(members) = rooms.0.get_mut(&room) {
                        // A member with a full queue does not read: dropping its sender ends its writer.
                        members.retain(|_, member| member.try_send(message.clone()).is_ok());
                    }
                }
                _ => break 'reading,
            }
        }
        buffer.reserve(READ_BYTES);
    }
    leave(&rooms, room, me);
    drop(sender);
    writing.await.ok(); // A writer that failed has nothing more to say.
    Ok(())
}

fn leave(rooms: &Mutex<Rooms>, room: Option<u32>, me: u64) {
    let mut rooms = rooms.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(members) = room.and_then(|room| rooms.0.get_mut(&room)) {
        members.remove(&me);
    }
}

async fn write_all(mut writer: OwnedWriteHalf, mut receiver: mpsc::Receiver<Bytes>) -> io::Result<()> {
    let mut messages = Vec::new();
    let mut together = Vec::new();
    // Everything that waits goes out in one write.
    while receiver.recv_many(&mut messages, QUEUE_MESSAGES).await > 0 {
        for message in messages.drain(..) {
            together.extend_from_slice(&message);
        }
        writer.write_all(&together).await?;
        together.clear();
    }
    Ok(())
}
