//! echo and relay on compio, on io_uring: one task per connection, and for the relay one more that writes; one thread
//! per worker. Rooms belong to one worker.

#![forbid(unsafe_code)]

use std::io;
use std::thread;

use bench_shared::{App, Lobby, Options, Seat, announce};
use compio::BufResult;
use compio::io::{AsyncRead as _, AsyncWriteExt as _};
use compio::net::{TcpListener, TcpStream};
use compio::runtime::Runtime;

/// What a task reads at a time.
const READ_BYTES: usize = 16 * 1024;

fn main() -> io::Result<()> {
    let options = Options::from_args();
    let first = bench_shared::listen(options.address)?;
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..options.workers {
        listeners.push(bench_shared::listen(address)?);
    }
    let workers: Vec<_> = listeners
        .into_iter()
        .map(|listener| thread::spawn(move || Runtime::new()?.block_on(serve(listener, options.app))))
        .collect();
    announce(address);
    for worker in workers {
        worker.join().map_err(|_| io::Error::other("a worker panicked"))??;
    }
    Ok(())
}

async fn serve(listener: std::net::TcpListener, app: App) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let lobby = Lobby::default();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        stream.set_nodelay(true).ok(); // An option, not a need.
        match app {
            App::Echo => compio::runtime::spawn(echo(stream)).detach(),
            App::Relay => compio::runtime::spawn(relay(stream, lobby.enter())).detach(),
        }
    }
}

async fn echo(mut stream: TcpStream) {
    let mut buffer = Vec::with_capacity(READ_BYTES);
    loop {
        let BufResult(read, bytes) = stream.read(buffer).await;
        let Ok(1..) = read else { return };
        let BufResult(written, mut bytes) = stream.write_all(bytes).await;
        if written.is_err() {
            return;
        }
        bytes.clear();
        buffer = bytes;
    }
}

async fn relay(stream: TcpStream, seat: Seat) {
    let (reader, writer) = stream.into_split();
    let writing = compio::runtime::spawn(write(writer, seat.clone()));
    read(reader, &seat).await;
    seat.leave();
    writing.await.ok(); // A writer that panicked has nothing more to say.
    seat.free();
}

async fn read(mut reader: TcpStream, seat: &Seat) {
    let mut buffer = Vec::with_capacity(READ_BYTES);
    loop {
        let BufResult(read, mut bytes) = reader.read(buffer).await;
        let Ok(1..) = read else { return };
        if seat.receive(&bytes).is_err() {
            return;
        }
        bytes.clear();
        buffer = bytes;
    }
}

async fn write(mut writer: TcpStream, seat: Seat) {
    let mut spare = Vec::new();
    while let Some(bytes) = seat.next(spare).await {
        let BufResult(written, bytes) = writer.write_all(bytes).await;
        if written.is_err() {
            return;
        }
        spare = bytes;
    }
}
