//! The HTTP heads of a WebSocket handshake: a server's response to a request, and a client's check of a response.

use data_encoding::BASE64;
use httparse::{EMPTY_HEADER, Header, Status};
use naksi_core::reason::DisconnectReason;
use tungstenite::handshake::derive_accept_key;

use crate::options::{ClientOptions, Origins, ServerOptions};

/// Most lines of a head.
const HEADERS_MAX: usize = 64;

/// A request that was refused: the reason, and the response to its sender.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) reason: DisconnectReason,
    pub(crate) response: String,
}

impl Refused {
    fn new(reason: DisconnectReason, status: &str, more: &str, text: &str) -> Self {
        let length = text.len() + 1;
        let response = format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {length}\r\n{more}\r\n{text}\n"
        );
        Self { reason, response }
    }

    fn bad(text: &str) -> Self {
        Self::new(DisconnectReason::BadHandshake, "400 Bad Request", "", text)
    }

    /// The head is longer, or has more lines, than it may.
    pub(crate) fn too_long() -> Self {
        let status = "431 Request Header Fields Too Large";
        Self::new(DisconnectReason::HeadTooLong, status, "", "The head of the request is too long.")
    }

    /// What came is no HTTP.
    pub(crate) fn no_http() -> Self {
        Self::bad("This is no HTTP request: this address speaks WebSocket.")
    }
}

/// The end of the head, if it has been received; searched from `from` on.
pub(crate) fn end(bytes: &[u8], from: usize) -> Option<usize> {
    let feeds = bytes.iter().enumerate().skip(from).filter(|(_, byte)| **byte == b'\n');
    feeds.map(|(at, _)| at + 1).find_map(|at| match bytes[at..] {
        [b'\n', ..] => Some(at + 1),
        [b'\r', b'\n', ..] => Some(at + 2),
        _ => None,
    })
}

/// The only value of a header; `None` if there is none. Several are refused.
fn only<'a>(headers: &[Header<'a>], name: &str) -> Result<Option<&'a str>, String> {
    let mut values = headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
    let Some(first) = values.next() else { return Ok(None) };
    match (std::str::from_utf8(first.value), values.next()) {
        (Ok(value), None) => Ok(Some(value.trim())),
        (Ok(_), Some(_)) => Err(format!("`{name}` stands there more than once.")),
        (Err(_), _) => Err(format!("`{name}` is no text.")),
    }
}

/// Whether a header is a list that contains this word.
fn lists(headers: &[Header<'_>], name: &str, word: &str) -> bool {
    let values = headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
    let words = values.flat_map(|header| header.value.split(|byte| *byte == b','));
    words.map(|value| value.trim_ascii()).any(|value| value.eq_ignore_ascii_case(word.as_bytes()))
}

/// Checks a whole request head. Returns the response that opens the WebSocket.
pub(crate) fn accept(head: &[u8], options: &ServerOptions) -> Result<String, Refused> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Refused::too_long()),
        Ok(Status::Partial) | Err(_) => return Err(Refused::no_http()),
    }
    let headers: &[Header<'_>] = request.headers;
    if request.method != Some("GET") {
        let status = "405 Method Not Allowed";
        let text = "A WebSocket begins with GET.";
        return Err(Refused::new(DisconnectReason::BadHandshake, status, "Allow: GET\r\n", text));
    }
    if request.version != Some(1) {
        return Err(Refused::bad("A WebSocket begins with HTTP/1.1."));
    }
    let upgrade = |more, text| {
        let more = format!("Upgrade: websocket\r\n{more}");
        Refused::new(DisconnectReason::BadHandshake, "426 Upgrade Required", &more, text)
    };
    if !lists(headers, "upgrade", "websocket") {
        return Err(upgrade("", "This address speaks WebSocket, and no other HTTP."));
    }
    if !lists(headers, "connection", "upgrade") {
        return Err(Refused::bad("`Connection: Upgrade` is missing."));
    }
    let only = |name| only(headers, name).map_err(|text| Refused::bad(&text));
    if only("sec-websocket-version")? != Some("13") {
        return Err(upgrade("Sec-WebSocket-Version: 13\r\n", "This server speaks version 13 of WebSocket."));
    }
    if only("transfer-encoding")?.is_some() || only("content-length")?.is_some_and(|length| length != "0") {
        return Err(Refused::bad("The request has a body."));
    }
    let is_key = |key: &&str| BASE64.decode(key.as_bytes()).is_ok_and(|bytes| bytes.len() == 16);
    let Some(key) = only("sec-websocket-key")?.filter(is_key) else {
        return Err(Refused::bad("`Sec-WebSocket-Key` must be 16 bytes in Base64."));
    };
    let Some(host) = only("host")?.filter(|host| !host.is_empty()) else {
        return Err(Refused::bad("`Host` is missing."));
    };
    if let Some(origin) = only("origin")?
        && !may_connect(&options.origins, origin, host)
    {
        let text = format!("Pages from {} may not connect here.", printable(origin));
        return Err(Refused::new(DisconnectReason::OriginRefused, "403 Forbidden", "", &text));
    }
    is_served(request.path.unwrap_or_default(), options)?;
    let protocol = choose(headers, &options.subprotocols)?;
    let protocol = protocol.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n")).unwrap_or_default();
    let accept = derive_accept_key(key.as_bytes());
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{protocol}\r\n"
    ))
}

/// Whether a request's path is served. A proxy may send an absolute URL instead of the path.
fn is_served(target: &str, options: &ServerOptions) -> Result<(), Refused> {
    let Some(served) = &options.path else { return Ok(()) };
    let path = match target.split_once("://") {
        Some((_, rest)) => rest.find(['/', '?']).map_or("/", |start| &rest[start..]),
        None => target,
    };
    let path = path.split('?').next().unwrap_or_default();
    if path == served || (path.is_empty() && served == "/") {
        return Ok(());
    }
    let text = format!("WebSocket is served at {}, and not at {}.", printable(served), printable(path));
    Err(Refused::new(DisconnectReason::BadHandshake, "404 Not Found", "", &text))
}

fn printable(text: &str) -> String {
    text.escape_default().take(200).collect()
}

fn may_connect(origins: &Origins, origin: &str, host: &str) -> bool {
    match origins {
        Origins::Any => true,
        Origins::Listed(list) => list.iter().any(|one| one.eq_ignore_ascii_case(origin)),
        Origins::SameHost => {
            let of_page = origin.split_once("://").map(|(_, place)| without_port(place));
            of_page.is_some_and(|page| page.eq_ignore_ascii_case(without_port(host)))
        }
    }
}

/// `play.example` of `play.example:8080`, `[::1]` of `[::1]:8080`.
fn without_port(place: &str) -> &str {
    match place.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.is_empty() => host,
        _ => place,
    }
}

/// The server's subprotocol that the client offers, if there is one.
fn choose<'a>(headers: &[Header<'_>], own: &'a [String]) -> Result<Option<&'a str>, Refused> {
    const NAME: &str = "sec-websocket-protocol";
    if let Some(chosen) = own.iter().find(|name| lists(headers, NAME, name)) {
        return Ok(Some(chosen));
    }
    let offered = headers.iter().filter(|header| header.name.eq_ignore_ascii_case(NAME));
    let offered = offered.flat_map(|header| header.value.split(|byte| *byte == b','));
    let family = |name: &str| name.rsplit_once('.').map(|(family, _)| family.to_ascii_lowercase());
    for name in offered.filter_map(|name| std::str::from_utf8(name.trim_ascii()).ok()) {
        let relative = own.iter().find(|own| family(own).is_some() && family(own) == family(name));
        if let Some(own) = relative {
            let name = printable(name);
            let text =
                format!("The client speaks {name}, and this server {own}: build both from the same table.");
            return Err(Refused::new(DisconnectReason::VersionRefused, "400 Bad Request", "", &text));
        }
    }
    Ok(None)
}

/// The request of a client. `key` is 16 random bytes of this connection.
pub(crate) fn request(options: &ClientOptions, key: &str) -> String {
    let ClientOptions { host, path, subprotocol, .. } = options;
    let protocol = subprotocol.as_ref().map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n"));
    let protocol = protocol.unwrap_or_default();
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{protocol}\r\n"
    )
}

/// The key for these bytes.
pub(crate) fn key(bytes: [u8; 16]) -> String {
    BASE64.encode(&bytes)
}

/// Whether a whole response head opens the WebSocket that was requested with this key.
pub(crate) fn is_accepted(head: &[u8], options: &ClientOptions, key: &str) -> Result<(), DisconnectReason> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(head) {
        Ok(Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Err(DisconnectReason::HeadTooLong),
        Ok(Status::Partial) | Err(_) => return Err(DisconnectReason::BadHandshake),
    }
    let headers: &[Header<'_>] = response.headers;
    let one = |name| only(headers, name).map_err(|_| DisconnectReason::BadHandshake);
    let is_accepted = response.code == Some(101)
        && lists(headers, "upgrade", "websocket")
        && lists(headers, "connection", "upgrade")
        && one("sec-websocket-accept")? == Some(&*derive_accept_key(key.as_bytes()))
        && one("sec-websocket-extensions")?.is_none();
    if !is_accepted {
        return Err(DisconnectReason::BadHandshake);
    }
    match (one("sec-websocket-protocol")?, options.subprotocol.as_deref()) {
        (None, _) => Ok(()),
        (Some(chosen), Some(offered)) if chosen.eq_ignore_ascii_case(offered) => Ok(()),
        _ => Err(DisconnectReason::BadHandshake),
    }
}
