//! Addresses on the command line: where to listen, and where to connect. A name stands for all of its addresses.

use std::fmt::Write as _;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use naksi::config::Url;
use naksi::config::address::{ToAddresses as _, to_connect};
#[cfg(feature = "clients")]
use naksi::{config::Transport, ws::ClientOptions};

use crate::config::{Listener, Settings, plain};
use crate::outcome::Problem;

/// The listeners of the settings, each with the one of the engine that it asks for.
///
/// # Errors
/// Everything that is wrong with them, each with its key and where it was set.
pub(crate) fn listeners(
    settings: &Settings,
) -> Result<Vec<(&Listener, naksi::service::Listener)>, Vec<Problem>> {
    let origin = settings.origin("listen.addresses");
    let wrong = |why: String| Problem::Usage(format!("listen.addresses: {why} ({origin})"));
    let (mut listeners, mut problems) = (Vec::new(), Vec::new());
    let mut taken: Vec<SocketAddr> = Vec::new();
    for said in &settings.listeners {
        match naksi::service::Listener::new(&said.address) {
            Ok(listener) => {
                for address in listener.addresses().iter().filter(|address| address.port() != 0) {
                    if taken.contains(address) {
                        problems.push(wrong(format!("two listeners have the address {address}")));
                    }
                    taken.push(*address);
                }
                listeners.push((said, listener));
            }
            Err(error) => problems.push(wrong(error.to_string())),
        }
    }
    if problems.is_empty() { Ok(listeners) } else { Err(problems) }
}

/// Parses an address to listen on; the error shows an example.
pub(crate) fn resolve(text: &str) -> Result<Vec<SocketAddr>, Problem> {
    let looks = "write it as 127.0.0.1:7777, [::1]:7777, [fe80::1%eth0]:7777 or localhost:7777";
    if !text.contains(':') {
        return Err(Problem::usage(format!("`{text}` has no port: {looks}")));
    }
    text.to_addresses()
        .map_err(|error| Problem::usage(format!("`{text}` is not an address ({}): {looks}", plain(&error))))
}

/// Reads the address of a server, with its scheme: all addresses of its name, in the order in which they are tried, and
/// what connections travel over.
pub(crate) fn server(text: &str) -> Result<(Url, Vec<SocketAddr>), Problem> {
    let url: Url = text.parse().map_err(|error: naksi::Error| Problem::Usage(error.to_string()))?;
    let place = match url.transport().port_default().filter(|_| !url.has_port()) {
        Some(port) => format!("{}:{port}", url.place()),
        None => url.place().to_owned(),
    };
    let servers = resolve(&place)?.into_iter().map(to_connect).collect();
    Ok((url, servers))
}

/// A client whose connections travel over what the address names; keys and masks come from the seed.
#[cfg(feature = "clients")]
pub(crate) fn over(client: naksi::Client, url: &Url, seed: u64) -> naksi::Client {
    match url.transport() {
        Transport::WebSocket => client.over_ws(ClientOptions::new(url.place(), url.path(), seed)),
        _ => client,
    }
}

/// Connects to the first of these addresses that answers, with this time limit for each.
pub(crate) fn connect(servers: &[SocketAddr], within: Duration) -> Result<(TcpStream, SocketAddr), Problem> {
    let mut failures = Vec::new();
    for server in servers {
        match TcpStream::connect_timeout(server, within) {
            Ok(stream) => return Ok((stream, *server)),
            Err(error) => failures.push((*server, error)),
        }
    }
    Err(cannot_connect(&failures))
}

/// The error for a connection that failed, with the error of every address.
fn cannot_connect(failures: &[(SocketAddr, io::Error)]) -> Problem {
    let is_refused = |(_, error): &(_, io::Error)| error.kind() == io::ErrorKind::ConnectionRefused;
    let mut line = match failures {
        [] => "there is no address to connect to".to_owned(),
        [one @ (server, _)] if is_refused(one) => {
            format!("no server listens on {server} (connection refused)")
        }
        [(server, error)] => format!("cannot connect to {server}: {}", plain(error)),
        several => {
            let each = several.iter().map(|(server, error)| format!("{server} ({})", plain(error)));
            format!("cannot connect to {}", each.collect::<Vec<_>>().join(", nor to "))
        }
    };
    if let Some((server, _)) = failures.first().filter(|_| failures.iter().all(is_refused)) {
        write!(line, ": start `naksi serve --addr {server}` first").expect("a text takes everything");
    }
    Problem::failed(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn each_address_is_tried_in_turn_and_every_failure_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let here = listener.local_addr().expect("it has an address");
        // Taken and closed again: nothing listens there.
        let closed =
            TcpListener::bind("127.0.0.1:0").and_then(|other| other.local_addr()).expect("a free port");
        let within = Duration::from_secs(30);
        let (_, found) = connect(&[closed, here], within).expect("the second one listens");
        assert_eq!(found, here);
        let said = connect(&[closed, closed], within).expect_err("nothing listens").to_string();
        assert_eq!(said.matches(&format!("{closed} (")).count(), 2, "{said}");
        let said = connect(&[closed], within).expect_err("nothing listens").to_string();
        assert!(
            said.starts_with(&format!(
                "no server listens on {closed} (connection refused): start `naksi serve"
            )),
            "{said}"
        );
    }

    #[test]
    fn a_server_that_listens_everywhere_is_reached_by_the_same_words() {
        let servers = |text: &str| server(text).expect(text).1;
        assert_eq!(servers("0.0.0.0:7777"), ["127.0.0.1:7777".parse().expect("an address")]);
        assert_eq!(servers("ws://0.0.0.0/play"), ["127.0.0.1:80".parse().expect("an address")]);
        assert_eq!(servers("[::]:7777"), ["[::1]:7777".parse().expect("an address")]);
    }
}
