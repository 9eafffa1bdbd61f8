//! Close frames: the code for each reason, and the handling of a peer's.

use naksi_core::reason::DisconnectReason;
use tungstenite::protocol::frame::coding::CloseCode;

/// Longest text of a close frame: 125 bytes less those of the code.
const TEXT_BYTES_MAX: usize = 123;

/// The payload of the close frame for this reason: a code, and the reason's name or the application's own text. An
/// application's own code is used where it is one that applications may choose, 4000 to 4999.
pub(crate) fn payload(reason: &DisconnectReason) -> Vec<u8> {
    let text = reason.cause().map_or(reason.name(), |cause| cause.text());
    let text = &text[..text.floor_char_boundary(TEXT_BYTES_MAX)];
    [&code(reason).to_be_bytes(), text.as_bytes()].concat()
}

fn code(reason: &DisconnectReason) -> u16 {
    let code = match reason {
        DisconnectReason::PeerClosed
        | DisconnectReason::PeerReset
        | DisconnectReason::Handler
        | DisconnectReason::RoomClosed => CloseCode::Normal,
        DisconnectReason::Shutdown => CloseCode::Away,
        DisconnectReason::WebSocketViolation | DisconnectReason::WrongMask => CloseCode::Protocol,
        DisconnectReason::TextRefused => CloseCode::Unsupported,
        DisconnectReason::TextNotUtf8 => CloseCode::Invalid,
        DisconnectReason::MessageTooLong | DisconnectReason::FrameTooLong => CloseCode::Size,
        DisconnectReason::SendQueueFull
        | DisconnectReason::RecvBacklogFull
        | DisconnectReason::MemoryPressure
        | DisconnectReason::RoomFull
        | DisconnectReason::Lagged => CloseCode::Again,
        DisconnectReason::HandlerPanic
        | DisconnectReason::OutOfMemory(_)
        | DisconnectReason::TimedOut(_)
        | DisconnectReason::Unreachable(_)
        | DisconnectReason::System(_) => CloseCode::Error,
        DisconnectReason::Custom(cause) => match u16::try_from(cause.code()) {
            Ok(code @ 4000..=4999) => CloseCode::Library(code),
            _ => CloseCode::Policy,
        },
        _ => CloseCode::Policy,
    };
    code.into()
}

/// The payload of the answer to a peer's close frame: the same code, or none if it has none.
///
/// # Errors
/// A payload that no close frame may have.
pub(crate) fn answer(payload: &[u8]) -> Result<Vec<u8>, DisconnectReason> {
    let Some((code, text)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(Vec::new()) } else { Err(DisconnectReason::WebSocketViolation) };
    };
    let number = u16::from_be_bytes(*code);
    // 1014 (bad gateway) was registered after the library's list was made.
    if !CloseCode::from(number).is_allowed() && number != 1014 {
        return Err(DisconnectReason::WebSocketViolation);
    }
    std::str::from_utf8(text).map_err(|_| DisconnectReason::TextNotUtf8)?;
    Ok(code.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_a_code_and_its_name_and_an_application_its_own() {
        for (reason, code, text) in [
            (DisconnectReason::Handler, 1000, "handler"),
            (DisconnectReason::Shutdown, 1001, "shutdown"),
            (DisconnectReason::WrongMask, 1002, "wrong_mask"),
            (DisconnectReason::TextRefused, 1003, "text_refused"),
            (DisconnectReason::TextNotUtf8, 1007, "text_not_utf8"),
            (DisconnectReason::RateExceeded, 1008, "rate_exceeded"),
            (DisconnectReason::FrameTooLong, 1009, "frame_too_long"),
            (DisconnectReason::HandlerPanic, 1011, "handler_panic"),
            (DisconnectReason::MemoryPressure, 1013, "memory_pressure"),
            (DisconnectReason::custom(4001, "banned"), 4001, "banned"),
            (DisconnectReason::custom(1, "why"), 1008, "why"),
        ] {
            let payload = payload(&reason);
            assert_eq!(payload[..2], u16::to_be_bytes(code), "{reason}");
            assert_eq!(&payload[2..], text.as_bytes());
            assert_eq!(answer(&payload), Ok(payload[..2].to_vec()), "a peer may say the same");
        }
    }

    #[test]
    fn every_code_that_no_frame_may_have_is_a_violation() {
        let allowed = |code: u16| answer(&code.to_be_bytes()).is_ok();
        let wrong: Vec<u16> = (0..=5100).filter(|code| !allowed(*code)).collect();
        let ranges = (0..1000).chain(1004..=1006).chain(1015..3000).chain(5000..=5100);
        assert_eq!(wrong, ranges.collect::<Vec<u16>>());
        assert_eq!(answer(&[3]), Err(DisconnectReason::WebSocketViolation), "half a code");
        assert_eq!(answer(&[3, 232, 0xff]), Err(DisconnectReason::TextNotUtf8));
    }
}
