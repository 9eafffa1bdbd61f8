//! echo and relay on glommio, on io_uring: one task per connection, and for the relay one more that writes; one
//! executor per worker. Rooms belong to one worker.

#![forbid(unsafe_code)]

use std::io;

use bench_shared::{App, Lobby, Options, Seat, announce};
use futures_lite::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf, split};
use glommio::net::{TcpListener, TcpStream};
use glommio::{LocalExecutorBuilder, Placement};

/// What a task reads at a time.
const READ_BYTES: usize = 16 * 1024;

fn main() -> io::Result<()> {
    let options = Options::from_args();
    // glommio's listener sets SO_REUSEPORT by itself; a free port is found once, for all of them.
    let probe = bench_shared::listen(options.address)?;
    let address = probe.local_addr()?;
    drop(probe);
    let (stands, standing) = std::sync::mpsc::channel();
    let mut workers = Vec::new();
    for _ in 0..options.workers {
        let stands = stands.clone();
        let builder = LocalExecutorBuilder::new(Placement::Unbound);
        let worker = builder.spawn(move || async move {
            let listener = TcpListener::bind(address);
            stands.send(()).ok(); // The parent thread may have ended already.
            serve(listener?, options.app).await
        });
        workers.push(worker.map_err(told)?);
    }
    (0..options.workers).for_each(|_| standing.recv().unwrap_or_default());
    announce(address);
    for worker in workers {
        worker.join().map_err(told)?.map_err(told)?;
    }
    Ok(())
}

/// glommio's errors cannot go from thread to thread as they are.
fn told(error: glommio::GlommioError<()>) -> io::Error {
    io::Error::other(error.to_string())
}

async fn serve(listener: TcpListener, app: App) -> glommio::Result<(), ()> {
    let lobby = Lobby::default();
    loop {
        let Ok(stream) = listener.accept().await else { continue };
        stream.set_nodelay(true).ok(); // An option, not a need.
        match app {
            App::Echo => drop(glommio::spawn_local(echo(stream)).detach()),
            App::Relay => drop(glommio::spawn_local(relay(stream, lobby.enter())).detach()),
        }
    }
}

async fn echo(mut stream: TcpStream) {
    let mut buffer = vec![0; READ_BYTES];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

async fn relay(stream: TcpStream, seat: Seat) {
    let (reader, writer) = split(stream);
    let writing = glommio::spawn_local(write(writer, seat.clone()));
    read(reader, &seat).await;
    seat.leave();
    writing.await;
    seat.free();
}

async fn read(mut reader: ReadHalf<TcpStream>, seat: &Seat) {
    let mut buffer = vec![0; READ_BYTES];
    while let Ok(read @ 1..) = reader.read(&mut buffer).await {
        if seat.receive(&buffer[..read]).is_err() {
            return;
        }
    }
}

async fn write(mut writer: WriteHalf<TcpStream>, seat: Seat) {
    let mut spare = Vec::new();
    while let Some(bytes) = seat.next(spare).await {
        if writer.write_all(&bytes).await.is_err() {
            return;
        }
        spare = bytes;
    }
}
