//! The same on one thread that shares nothing: the current-thread runtime with a `LocalSet`, and for the relay the
//! rooms of the monoio and compio servers.

use std::io;

use bench_shared::{App, Lobby, Options, Seat, announce};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

use crate::{READ_BYTES, echo};

/// Serves until the process ends.
pub(crate) fn run(options: Options) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    LocalSet::new().block_on(&runtime, serve(options))
}

async fn serve(options: Options) -> io::Result<()> {
    let listener = TcpListener::bind(options.address).await?;
    announce(listener.local_addr()?);
    let lobby = Lobby::default();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        stream.set_nodelay(true).ok(); // An option, not a need.
        match options.app {
            App::Echo => drop(spawn_local(echo(stream))),
            App::Relay => drop(spawn_local(relay(stream, lobby.enter()))),
        }
    }
}

async fn relay(stream: TcpStream, seat: Seat) {
    let (reader, writer) = stream.into_split();
    let writing = spawn_local(write(writer, seat.clone()));
    read(reader, &seat).await;
    seat.leave();
    writing.await.ok(); // A writer that panicked has nothing more to say.
    seat.free();
}

async fn read(mut reader: OwnedReadHalf, seat: &Seat) {
    let mut buffer = vec![0; READ_BYTES];
    while let Ok(read @ 1..) = reader.read(&mut buffer).await {
        if seat.receive(&buffer[..read]).is_err() {
            return;
        }
    }
}

async fn write(mut writer: OwnedWriteHalf, seat: Seat) {
    let mut spare = Vec::new();
    while let Some(bytes) = seat.next(spare).await {
        if writer.write_all(&bytes).await.is_err() {
            return;
        }
        spare = bytes;
    }
}
