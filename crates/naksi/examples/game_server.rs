//! The GameServer of lecture 004, with what its console shows while a client comes, sends 100 bytes at a time and goes.
//!
//! Start it, start `dummy_client` beside it, and end that by force: the session is told and its destructor runs.
use naksi::prelude::*;

//= lecture 004: 세션을 상속을 받아 가지고 게임 세션이라는 걸로 우리가 사용할 텐데
struct GameSession;

impl Session for GameSession {
    fn on_connected(&mut self, _: &mut Conn<'_>) {
        println!("OnConnected");
    }

    fn on_recv(&mut self, _: &mut Conn<'_>, data: &[u8]) -> usize {
        println!("OnRecv Len = {}", data.len());
        data.len()
    }

    fn on_disconnected(&mut self, reason: DisconnectReason) {
        match reason {
            //= lecture 004: 0바이트 리시브를 했다는 것은 그냥 연결이 끊겼다는 상황입니다
            DisconnectReason::PeerClosed => println!("Disconnect : Recv 0"),
            other => println!("Disconnect : {other}"),
        }
    }
}

//= lecture 004: Session에 소멸자까지 호출이 되어가지고 진짜로 Session이 삭제가 되는지도 테스트를 해볼 필요가 있습니다
impl Drop for GameSession {
    fn drop(&mut self) {
        println!("~GameSession");
    }
}

pub(crate) fn main() -> naksi::Result<()> {
    Server::from_env()?.session(|| GameSession).run()
}
